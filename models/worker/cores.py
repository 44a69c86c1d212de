"""One worker computes on the processor's cores at a time."""

import fcntl
import os
from types import TracebackType

__all__ = ["CoreLock"]


class CoreLock:
    """Held around each step, by every worker of a gateway that computes on the CPU.

    Two llama.cpp workers that spin on each other's cores take half as long again as one after the
    other; so each uses all cores for one step and hands them on. Locks on files, because the
    kernel releases them when their holder is killed. Without a path it does nothing.

    Whoever waits for the cores holds the place at the head of the queue, a second file: who gives
    them back and wants them again cannot be faster.

    Who holds it may take it again; it is free when it has been given back as often. Of one thread.
    """

    def __init__(self, path: str | None) -> None:
        self._cores = None if path is None else _open(path)
        self._queue = None if path is None else _open(f"{path}.next")
        self._held = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the cores."""
        if self._queue is None:
            return False
        try:
            fcntl.flock(self._queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        return False

    def acquire(self) -> None:
        """Wait until the cores are ours."""
        if self._cores is not None and self._queue is not None and not self._held:
            fcntl.flock(self._queue, fcntl.LOCK_EX)
            fcntl.flock(self._cores, fcntl.LOCK_EX)
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._held += 1

    def release(self) -> None:
        """Done with them."""
        self._held -= 1
        if self._cores is not None and not self._held:
            fcntl.flock(self._cores, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
