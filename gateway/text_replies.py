"""The bodies of text completions."""

from gateway.envelope import Envelope
from gateway.schema.chat import Usage
from gateway.schema.common import Status, StatusEvent, Timings
from gateway.schema.completions import (
    Completion,
    CompletionChoice,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionRequest,
)
from models.settings import ModelSettings

__all__ = ["TextReply"]


class TextReply(Envelope):
    """What a completion request is answered with."""

    def __init__(self, request: CompletionRequest, settings: ModelSettings) -> None:
        options = request.stream_options
        super().__init__("cmpl", request.model, options, settings, Completion, CompletionChunk)

    def completion(self, choices: list[CompletionChoice], usage: Usage, timings: Timings) -> bytes:
        """The answers in one piece."""
        return self._encoded(choices, usage=usage, timings=timings)

    def piece(self, choice: CompletionChunkChoice) -> bytes:
        """A framed chunk of one answer."""
        return self._framed([choice])

    def status(self, description: str, *, done: bool) -> bytes:
        """A framed chunk that adds nothing and says what is going on."""
        told = StatusEvent(data=Status(description=description, done=done))
        return self._framed([CompletionChunkChoice(index=0, text="")], event=told)
