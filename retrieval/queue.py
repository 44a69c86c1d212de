"""What waits to be ingested, in the background. The queue itself is in the database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from retrieval.errors import DiskFull, RetrievalError
from retrieval.store_files import Waiting

__all__ = ["IngestQueue"]

log = logging.getLogger("jurat.retrieval")

_FILES_AT_ONCE = 4  # while the embedder works on one, others are parsed and cut
_ATTEMPTS = 3  # of a file that the embedder fails at: it may be what ends the worker
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Waits(Protocol):
    """What the queue asks of `store_files.StoreFiles`."""

    def waiting(self, busy: Sequence[int]) -> list[Waiting]: ...
    def ended(self, known: Sequence[Waiting]) -> list[Waiting]: ...


class _Running(NamedTuple):
    waiting: Waiting
    task: asyncio.Task[None]


class IngestQueue:
    """Ingests files one after the other, a few at once; owners take turns.

    What is in progress when the process ends is begun anew by the next one.
    """

    def __init__(
        self,
        files: Waits,
        take: Callable[[Waiting], Awaitable[None]],
        give_up: Callable[[Waiting, str], Awaitable[None]],
        away: tuple[type[Exception], ...],
    ) -> None:
        """`away` are the errors of an embedder that will be back: they count for nothing."""
        self._files = files
        self._take = take
        self._give_up = give_up
        self._away = away
        self._running: dict[int, _Running] = {}
        self._served: dict[str, int] = {}  # when an owner's file was last begun
        self._begun = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._suspects = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Break off; nothing that was not completed is to be seen."""
        tasks = [running.task for running in self._running.values()]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Something came, or went: called in the event loop after every change of what waits."""
        self._idle.clear()
        self._changed.set()

    async def settled(self) -> None:
        """Returns when nothing waits any more; only while the queue runs."""
        await self._idle.wait()

    async def _run(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._fill()
            except Exception:  # the database's, say of a full disk; what waits is still there
                log.exception("the queue of files")
                await asyncio.sleep(_LONGEST_PAUSE_S)
                self._changed.set()

    async def _fill(self) -> None:
        known = [running.waiting for running in self._running.values()]
        for gone in await asyncio.to_thread(self._files.ended, known):
            if running := self._running.get(gone.seq):
                running.task.cancel()
        while len(self._running) < _FILES_AT_ONCE:
            found = await asyncio.to_thread(self._files.waiting, list(self._running))
            if not found:
                if not self._running and not self._changed.is_set():
                    self._idle.set()
                return
            chosen = min(found, key=self._turn)
            self._begun += 1
            self._served[chosen.owner] = self._begun
            task = asyncio.create_task(self._ingest(chosen))
            self._running[chosen.seq] = _Running(chosen, task)
            task.add_done_callback(lambda _, seq=chosen.seq: self._done(seq))

    def _turn(self, waiting: Waiting) -> tuple[int, int]:
        """Whom the least is being done for, and then who has waited longest for a turn."""
        running = sum(1 for one in self._running.values() if one.waiting.owner == waiting.owner)
        return running, self._served.get(waiting.owner, 0)

    def _done(self, seq: int) -> None:
        del self._running[seq]
        self._changed.set()

    async def _ingest(self, waiting: Waiting) -> None:
        failures = 0
        pause = _FIRST_PAUSE_S
        while True:
            try:
                if not failures:
                    await self._take(waiting)
                else:
                    # One after the other, so that of those that were being embedded when the
                    # embedder failed, only the one to blame fails again.
                    async with self._suspects:
                        await self._take(waiting)
                return
            except (*self._away, DiskFull):
                pass
            except Exception as error:
                failures += 1
                log.exception("file %s, attempt %d", waiting.filename, failures)
                if failures >= _ATTEMPTS or isinstance(error, RetrievalError):
                    await self._fail(waiting, error)
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _fail(self, waiting: Waiting, error: Exception) -> None:
        reason = f"{waiting.filename}: the server failed to embed it"
        try:
            await self._give_up(
                waiting, str(error) if isinstance(error, RetrievalError) else reason
            )
        except Exception:
            log.exception("file %s cannot be marked as failed", waiting.filename)
            await asyncio.sleep(_LONGEST_PAUSE_S)
