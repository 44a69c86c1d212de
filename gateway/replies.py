"""The bodies of chat completions."""

from msgspec import UNSET, Struct, UnsetType

from gateway.envelope import Envelope
from gateway.schema.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    Logprobs,
    ServiceTier,
    Usage,
)
from gateway.schema.common import SourceEvent, Status, StatusEvent, Timings
from gateway.schema.ensemble import EnsembleReport

__all__ = ["Reply"]


class Reply(Envelope):
    """What a chat request is answered with, by whatever `settings` configure."""

    def __init__(self, request: ChatRequest, settings: Struct) -> None:
        tier: ServiceTier = "flex" if request.service_tier == "flex" else "default"
        super().__init__(
            "chatcmpl",
            request.model,
            request.stream_options,
            settings,
            ChatCompletion,
            ChatCompletionChunk,
            service_tier=tier,
        )

    def completion(
        self,
        choices: list[Choice],
        usage: Usage,
        timings: Timings,
        report: EnsembleReport | UnsetType = UNSET,
    ) -> bytes:
        """The answers in one piece."""
        return self._encoded(choices, usage=usage, timings=timings, ensemble=report)

    def delta(self, delta: Delta, index: int = 0, logprobs: Logprobs | None = None) -> bytes:
        """A framed chunk that adds something."""
        return self._framed([ChunkChoice(index=index, delta=delta, logprobs=logprobs)])

    def event(self, event: StatusEvent | SourceEvent) -> bytes:
        """A framed chunk that adds nothing, with an event for the front-end."""
        return self._framed([ChunkChoice(index=0, delta=Delta())], event=event)

    def status(self, description: str, *, done: bool) -> bytes:
        """A framed chunk that adds nothing and says what is going on."""
        return self.event(StatusEvent(data=Status(description=description, done=done)))

    def finish(
        self,
        reason: FinishReason,
        index: int = 0,
        delta: Delta | None = None,
        report: EnsembleReport | UnsetType = UNSET,
        timings: Timings | UnsetType = UNSET,
    ) -> bytes:
        """A framed chunk that ends a choice."""
        last = ChunkChoice(index=index, delta=delta or Delta(), finish_reason=reason)
        if self._include_usage:
            timings = UNSET  # they come with the usage
        return self._framed([last], timings=timings, ensemble=report)
