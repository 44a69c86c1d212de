"""What is the same in every body of one answer, and the bodies made with it."""

import hashlib
import time
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.schema.chat import Usage
from gateway.schema.common import Timings
from gateway.schema.sampling import StreamOptions
from gateway.sse import event
from gateway.version import VERSION
from models import hardware

__all__ = ["Envelope"]


class Envelope:
    """One answer's id, time and model, in one piece or in chunks.

    `whole` and `chunk` are the Structs of these bodies. `more` are fields that both have besides.
    """

    def __init__(
        self,
        prefix: str,
        model: str,
        options: StreamOptions | None,
        settings: Struct,
        whole: type[Struct],
        chunk: type[Struct],
        **more: Any,
    ) -> None:
        self._whole = whole
        self._chunk = chunk
        self._include_usage = options is not None and bool(options.include_usage)
        self._head: dict[str, Any] = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": _fingerprint(msgspec.json.encode(settings).decode()),
            **more,
        }

    def usage(self, usage: Usage, timings: Timings) -> bytes:
        """The framed chunk after all others, if it was asked for."""
        if not self._include_usage:
            return b""
        return self._framed([], usage=usage, timings=timings)

    def _encoded(self, choices: Sequence[Struct], **fields: Any) -> bytes:
        """The answers in one piece."""
        return msgspec.json.encode(self._whole(**self._head, choices=choices, **fields))

    def _framed(
        self, choices: Sequence[Struct], *, usage: Usage | None = None, **fields: Any
    ) -> bytes:
        """A chunk as an event."""
        counts: Usage | UnsetType | None = usage if self._include_usage else UNSET
        chunk = self._chunk(**self._head, choices=choices, usage=counts, **fields)
        return event(msgspec.json.encode(chunk))


@cache
def _fingerprint(configuration: str) -> str:
    """Changes with all that may change what a seed gives, but for the load and the caches.

    That is this version, the build of llama.cpp, the processor and how many of its cores are used
    (they decide in what order numbers are added up), and the settings of the model.
    """
    machine = f"{hardware.fingerprint()}\n{hardware.core_count()}"
    digest = hashlib.sha256(f"{VERSION}\n{machine}\n{configuration}".encode())
    return f"fp_{digest.hexdigest()[:12]}"
