"""The bodies of chat completions: what is the same in every chunk of one answer is kept here."""

import hashlib
import time
import uuid
from functools import cache
from typing import Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

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
from gateway.schema.common import Timings
from gateway.schema.ensemble import EnsembleReport
from gateway.sse import event
from gateway.version import VERSION
from models import hardware

__all__ = ["Reply"]


class Reply:
    """One answer's id, time and model, and the bodies made with them."""

    def __init__(
        self, model: str, configuration: str, include_usage: bool, tier: ServiceTier
    ) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model
        self._fingerprint = fingerprint(configuration)
        self._include_usage = include_usage
        self._tier: ServiceTier = tier

    @classmethod
    def to(cls, request: ChatRequest, settings: Struct) -> Self:
        """A reply to a request, by whatever `settings` configure."""
        options = request.stream_options
        return cls(
            request.model,
            msgspec.json.encode(settings).decode(),
            include_usage=options is not None and bool(options.include_usage),
            tier="flex" if request.service_tier == "flex" else "default",
        )

    def completion(
        self,
        choices: list[Choice],
        usage: Usage,
        timings: Timings,
        report: EnsembleReport | UnsetType = UNSET,
    ) -> bytes:
        """The answers in one piece."""
        return msgspec.json.encode(
            ChatCompletion(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=choices,
                usage=usage,
                system_fingerprint=self._fingerprint,
                timings=timings,
                service_tier=self._tier,
                ensemble=report,
            )
        )

    def delta(self, delta: Delta, index: int = 0, logprobs: Logprobs | None = None) -> bytes:
        """A framed chunk that adds something."""
        return self._chunk([ChunkChoice(index=index, delta=delta, logprobs=logprobs)])

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
        return self._chunk([last], timings=timings, report=report)

    def usage(self, usage: Usage, timings: Timings) -> bytes:
        """The framed chunk after all others, if it was asked for."""
        return self._chunk([], usage=usage, timings=timings) if self._include_usage else b""

    def _chunk(
        self,
        choices: list[ChunkChoice],
        *,
        usage: Usage | None = None,
        timings: Timings | UnsetType = UNSET,
        report: EnsembleReport | UnsetType = UNSET,
    ) -> bytes:
        chunk = ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            system_fingerprint=self._fingerprint,
            service_tier=self._tier,
            usage=usage if self._include_usage else UNSET,
            timings=timings,
            ensemble=report,
        )
        return event(msgspec.json.encode(chunk))


@cache
def fingerprint(configuration: str) -> str:
    """Changes with all that may change what a seed gives, but for the load and the caches.

    That is this version, the build of llama.cpp, the processor and how many of its cores are used
    (they decide in what order numbers are added up), and the settings of the model.
    """
    machine = f"{hardware.fingerprint()}\n{hardware.core_count()}"
    digest = hashlib.sha256(f"{VERSION}\n{machine}\n{configuration}".encode())
    return f"fp_{digest.hexdigest()[:12]}"
