"""The bodies of text completions: what is the same in every chunk of one answer is kept here."""

import time
import uuid

import msgspec
from msgspec import UNSET, UnsetType

from gateway.replies import fingerprint
from gateway.schema.chat import Usage
from gateway.schema.common import Timings
from gateway.schema.completions import (
    Completion,
    CompletionChoice,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionRequest,
)
from gateway.sse import event
from models.settings import ModelSettings

__all__ = ["TextReply"]


class TextReply:
    """One answer's id, time and model, and the bodies made with them."""

    def __init__(self, request: CompletionRequest, settings: ModelSettings) -> None:
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = request.model
        self._fingerprint = fingerprint(msgspec.json.encode(settings).decode())
        options = request.stream_options
        self._include_usage = options is not None and bool(options.include_usage)

    def completion(self, choices: list[CompletionChoice], usage: Usage, timings: Timings) -> bytes:
        """The answers in one piece."""
        return msgspec.json.encode(
            Completion(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=choices,
                usage=usage,
                system_fingerprint=self._fingerprint,
                timings=timings,
            )
        )

    def piece(self, choice: CompletionChunkChoice) -> bytes:
        """A framed chunk of one answer."""
        return self._chunk([choice])

    def usage(self, usage: Usage, timings: Timings) -> bytes:
        """The framed chunk after all others, if it was asked for."""
        return self._chunk([], usage, timings) if self._include_usage else b""

    def _chunk(
        self,
        choices: list[CompletionChunkChoice],
        usage: Usage | None = None,
        timings: Timings | UnsetType = UNSET,
    ) -> bytes:
        chunk = CompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            system_fingerprint=self._fingerprint,
            usage=usage if self._include_usage else UNSET,
            timings=timings,
        )
        return event(msgspec.json.encode(chunk))
