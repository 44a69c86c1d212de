"""Time and memory for work that is not trusted, in this thread."""

import resource
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = ["bounded"]

STATM = Path("/proc/self/statm")


@contextmanager
def bounded(seconds: float, more_bytes: int) -> Generator[None]:
    """Raise TimeoutError in what runs longer, MemoryError in what takes so much more than there is.

    Signals reach a process's first thread only: in another one, time has no end. Memory has none
    where the system does not say how much there is.
    """
    with _memory(more_bytes), _time(seconds):
        yield


@contextmanager
def _time(seconds: float) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, late)
    # Again and again: Jinja passes over what is raised while it computes what is constant.
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


@contextmanager
def _memory(more_bytes: int) -> Generator[None]:
    if not STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(STATM.read_text().split()[0]) * resource.getpagesize()
    limits = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([taken + more_bytes, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
