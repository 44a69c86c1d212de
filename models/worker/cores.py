"""One worker computes on the processor's cores at a time."""

import fcntl
import os
from types import TracebackType

__all__ = ["CoreLock"]


class CoreLock:
    """Held around each step, by every worker of a gateway that computes on the CPU.

    Two llama.cpp workers that spin on each other's cores take half as long again as one after the
    other; so each uses all cores for one step and hands them on. A lock on a file, because the
    kernel releases it when its holder is killed. Without a path it does nothing.
    """

    def __init__(self, path: str | None) -> None:
        self._fd = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
