"""A stream that waits for its model to be loaded says so."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from models.engine import Engine

__all__ = ["after_load", "is_cold", "patience_s"]

COLD_START_S = 2.0  # a load may end so soon that there is nothing to tell


class _Tells(Protocol):
    def status(self, description: str, *, done: bool) -> bytes: ...


def is_cold(engine: Engine) -> bool:
    """Whether its first answer waits for a load."""
    return engine.stats().state in ("unloaded", "loading")


def patience_s(*, cold: bool, keep_alive_s: float) -> float:
    """How long a stream may be silent at first, so that an error still gets a status of its own."""
    return min(COLD_START_S, keep_alive_s) if cold else keep_alive_s


async def after_load(
    reply: _Tells, model: str, frames: AsyncGenerator[bytes, None], first: int
) -> AsyncGenerator[bytes, None]:
    """The same events, and in the pause before the first token what is being waited for.

    `first` frames do not wait for the model.
    """
    told = f"Loading {model}"
    async with aclosing(frames):
        for _ in range(first):
            yield await anext(frames)
        yield reply.status(told, done=False)
        waits = True
        async for frame in frames:
            if waits:
                yield reply.status(told, done=True)
            waits = False
            yield frame
