"""A few threads for work of several owners: nobody's jobs keep another's from beginning."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["FairThreads", "Job"]

Result = TypeVar("Result")


@dataclass(eq=False)
class Job(Generic[Result]):
    """Work under way or done, for as many requests as `users` has owners."""

    call: Callable[[], Result]
    users: list[str]
    future: "Future[Result]" = field(default_factory=lambda: Future[Result]())
    owner: str = ""  # whose turn it took
    begun_at: float | None = None  # by time.perf_counter(); None: it waits for a thread

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for what it makes, or raises."""
        return self.future.result(timeout_s)


class FairThreads(Generic[Result]):
    """`count` threads. The next job is of an owner who has no thread, if such a one waits.

    Among those it is whoever had a thread least recently; an owner's own begin by age. A job that
    has begun cannot be stopped; one that nobody waits for any more never begins.
    """

    def __init__(self, count: int, name: str, stack_bytes: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._stack_bytes = stack_bytes
        self._lock = threading.Lock()  # the threads take their jobs themselves
        self._waiting: list[Job[Result]] = []  # oldest first
        self._running: list[Job[Result]] = []
        self._turns: dict[str, int] = {}  # the last one of each owner
        self._turn = 0

    @property
    def abandoned(self) -> list[str]:
        """Whose jobs run on although nobody waits for them; an owner once for each."""
        with self._lock:
            return [job.owner for job in self._running if not job.users]

    def submit(self, call: Callable[[], Result], owner: str) -> Job[Result]:
        """Have it done when it is the owner's turn."""
        job = Job(call, [owner])
        with self._lock:
            self._waiting.append(job)
        before = threading.stack_size(self._stack_bytes)  # of the thread that this may start
        try:
            self._threads.submit(self._run_next)
        finally:
            threading.stack_size(before)
        return job

    def join(self, job: Job[Result], owner: str) -> None:
        """One more waits for it."""
        with self._lock:
            job.users.append(owner)

    def leave(self, job: Job[Result], owner: str) -> None:
        """One of those who waited for it goes; the last one takes it along if it has not begun."""
        with self._lock:
            job.users.remove(owner)
            if job.users or job not in self._waiting:
                return
            self._waiting.remove(job)
        job.future.cancel()

    def _run_next(self) -> None:
        """There is a call of this for each job that was submitted, not bound to which."""
        with self._lock:
            if not self._waiting:
                return
            job = self._take()
        try:
            result = job.call()
        except BaseException as error:
            self._end(job)
            job.future.set_exception(error)
        else:
            self._end(job)
            job.future.set_result(result)

    def _take(self) -> Job[Result]:
        running = Counter(job.owner for job in self._running)

        def turn(owner: str) -> tuple[int, int]:
            return running[owner], self._turns.get(owner, 0)

        job = min(self._waiting, key=lambda job: min(map(turn, job.users)))
        job.owner = min(job.users, key=turn)
        self._turn += 1
        self._turns[job.owner] = self._turn
        self._waiting.remove(job)
        self._running.append(job)
        job.begun_at = time.perf_counter()
        return job

    def _end(self, job: Job[Result]) -> None:
        with self._lock:
            self._running.remove(job)
