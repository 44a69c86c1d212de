"""The bodies of text completions."""

from gateway.envelope import Envelope
from gateway.schema.chat import Usage
from gateway.schema.common import Timings
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
