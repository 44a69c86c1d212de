"""The one interface to a running model, whatever runs it."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

from models.types import (
    EmbedRequest,
    EmbedResult,
    EngineStats,
    GenerateDelta,
    GenerateRequest,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
)

__all__ = ["Engine"]


@runtime_checkable
class Engine(Protocol):
    """A model that can be started, asked and stopped. Every method belongs to one event loop.

    Errors are those of `models.errors`. What a model cannot do raises `Unsupported`.
    """

    async def start(self) -> None:
        """Load the model and return when it is ready. Raises LoadFailed, SourceError."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        """Stream a completion; the last delta carries `end`. Closing it cancels the request."""
        ...

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Embed the inputs in order. Cancelling the call drops what is not yet computed."""
        ...

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rate documents against a query, in order. Cancelling drops what is not yet computed."""
        ...

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Token ids of a text or a rendered chat."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many ids `tokenize` gives for each text, in one call."""
        ...

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids; raises InvalidRequest for an id outside the vocabulary.

        Control tokens have none, unless `special` asks for how they are spelled.
        """
        ...

    async def spell(self, tokens: Sequence[int]) -> list[bytes]:
        """Each token's own bytes, control tokens' too; raises as `detokenize` does."""
        ...

    def stats(self) -> EngineStats:
        """A reading of now; never blocks."""
        ...

    async def stop(self, deadline_s: float) -> None:
        """End within the deadline, by force if need be; requests inside fail. Idempotent."""
        ...
