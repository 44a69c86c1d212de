"""An engine that is in memory while it is used: every call holds its model there."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from models.engine import Engine
from models.lifecycle import NOBODY, Lifecycle
from models.types import (
    EmbedRequest,
    EmbedResult,
    EngineStats,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
)

__all__ = ["OnDemandEngine", "Served"]


@dataclass
class Served:
    """What an engine has done since the gateway started. Times are sums over requests."""

    requests: int = 0  # that ended well
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of them, not computed again
    cache_hits: int = 0  # requests with some
    completion_tokens: int = 0
    queue_s: float = 0.0  # in the worker
    prefill_s: float = 0.0
    decode_s: float = 0.0

    def count(self, end: GenerateEnd) -> None:
        """Add a completion."""
        self.requests += 1
        self.prompt_tokens += end.usage.prompt_tokens
        self.cached_tokens += end.usage.cached_tokens
        self.cache_hits += end.usage.cached_tokens > 0
        self.completion_tokens += end.usage.completion_tokens
        self.queue_s += end.timings.queue_ms / 1000
        self.prefill_s += end.timings.prefill_ms / 1000
        self.decode_s += end.timings.decode_ms / 1000


class OnDemandEngine:
    """See `models.engine.Engine`. The model is loaded for the first call that needs it.

    Calls wait for that, and raise QueueFull where too many do already. `key` names the engine in
    `lifecycle`; `start` loads, and does not try again what failed.
    """

    def __init__(self, engine: Engine, key: str, lifecycle: Lifecycle) -> None:
        self.served = Served()
        self._engine = engine
        self._key = key
        self._lifecycle = lifecycle

    async def start(self) -> None:
        async with self._held():
            pass

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        await self._lifecycle.enter(self._key, request.owner)
        try:
            async with aclosing(self._engine.generate(request)) as deltas:
                async for delta in deltas:
                    if delta.end is not None:
                        self.served.count(delta.end)
                    yield delta
        finally:
            self._lifecycle.leave(self._key)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        async with self._held(request.owner):
            result = await self._engine.embed(request)
        self.served.requests += 1
        self.served.prompt_tokens += sum(result.token_counts)
        return result

    async def rerank(self, request: RerankRequest) -> RerankResult:
        async with self._held(request.owner):
            result = await self._engine.rerank(request)
        self.served.requests += 1
        self.served.prompt_tokens += result.tokens
        return result

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        async with self._held():
            return await self._engine.tokenize(request)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        async with self._held():
            return await self._engine.count_tokens(texts)

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        async with self._held():
            return await self._engine.detokenize(tokens, special=special)

    async def spell(self, tokens: Sequence[int]) -> list[bytes]:
        async with self._held():
            return await self._engine.spell(tokens)

    def stats(self) -> EngineStats:
        return self._lifecycle.stats(self._key)

    async def stop(self, deadline_s: float) -> None:
        self._lifecycle.unload(self._key)

    @asynccontextmanager
    async def _held(self, owner: str = NOBODY) -> AsyncGenerator[None, None]:
        await self._lifecycle.enter(self._key, owner)
        try:
            yield
        finally:
            self._lifecycle.leave(self._key)
