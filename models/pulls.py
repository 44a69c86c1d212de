"""The gateway's pulls: one process each, shared by all who wait for the same source."""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from models.errors import DownloadFailed, EngineUnavailable
from models.hub_names import Reference
from models.pull_events import Broken, Progress, Pulled, PullEvent, PullTask

__all__ = ["Pulls"]

log = logging.getLogger(__name__)

LOG_TAIL_BYTES = 2000
LINE_BYTES = 1 << 22  # the last event lists all files


class Pulls:
    """Runs pulls until nobody waits for them.

    `environment` gives variables for a pulling process (the token), read anew for each; it may
    raise DownloadFailed.
    """

    def __init__(self, data_dir: Path, environment: Callable[[], Mapping[str, str]]) -> None:
        self._data_dir = data_dir
        self._environment = environment
        self._running: dict[Reference, _Pull] = {}
        self._stopping = False

    async def pull(self, reference: Reference) -> AsyncGenerator[Progress | Pulled, None]:
        """Progress, the newest only, and at the end Pulled. Raises DownloadFailed.

        Closing it ends the pull if nobody else waits for it. What came so far stays.
        """
        if self._stopping:
            raise EngineUnavailable("The gateway is shutting down.")
        found = self._running.get(reference)
        if found is None:
            found = self._running[reference] = _Pull(self._run(reference))
        found.watchers += 1
        try:
            seen = 0
            while True:
                async with found.news:
                    await found.news.wait_for(lambda: found.version > seen)  # noqa: B023
                    seen, event = found.version, found.event
                if isinstance(event, Broken):
                    if self._stopping:
                        raise EngineUnavailable("The gateway is shutting down.")
                    raise DownloadFailed(event.message, event.code)
                assert event is not None
                yield event
                if isinstance(event, Pulled):
                    return
        finally:
            found.watchers -= 1
            if not found.watchers and not found.task.done():
                self._forget(reference, found)
                found.task.cancel()
                await asyncio.gather(found.task, return_exceptions=True)

    async def stop(self) -> None:
        """End all pulls."""
        self._stopping = True
        tasks = [found.task for found in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reference: Reference) -> None:
        """Tell the watchers what a process says, and its end in any case."""
        found = self._running[reference]
        end: PullEvent = Broken(message=f"{reference}: the pull was ended.", code="unreachable")
        try:
            with tempfile.TemporaryFile() as errors:
                async with aclosing(self._process(reference, errors)) as events:
                    async for event in events:
                        if not isinstance(event, Progress):
                            end = event
                            break
                        await found.tell(event)
                    else:
                        end = _unexplained(reference, errors)
        except DownloadFailed as error:
            end = Broken(message=str(error), code=error.code)
        except OSError as error:
            end = Broken(message=f"{reference}: cannot start to pull: {error}", code="disk_error")
        finally:
            self._forget(reference, found)
            await found.tell(end)

    async def _process(
        self, reference: Reference, errors: IO[bytes]
    ) -> AsyncGenerator[PullEvent, None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder `models` where the user happens to stand is not ours
            "-m",
            "models.pull_process",
            stdin=asyncio.subprocess.PIPE,  # closes when we die: the process ends with us
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_BYTES,
            start_new_session=True,  # the terminal's Ctrl-C is ours alone
            env={**os.environ, **self._environment()},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            task = PullTask(reference=reference, data_dir=str(self._data_dir))
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            async for line in process.stdout:
                yield msgspec.json.decode(line, type=PullEvent)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):  # it has just ended
                    process.kill()
            process.stdin.close()
            await process.wait()

    def _forget(self, reference: Reference, found: "_Pull") -> None:
        """Whoever asks from now on begins a new pull."""
        if self._running.get(reference) is found:
            del self._running[reference]


class _Pull:
    """One pull and its newest event."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self.watchers = 0
        self.version = 0
        self.event: PullEvent | None = None
        self.news = asyncio.Condition()
        self.task = asyncio.create_task(work)

    async def tell(self, event: PullEvent) -> None:
        """Wake the watchers."""
        async with self.news:
            self.version += 1
            self.event = event
            self.news.notify_all()


def _unexplained(reference: Reference, errors: IO[bytes]) -> Broken:
    """For a process that ended without a word."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    log.error("the pull of %s died: %s", reference, errors.read().decode(errors="replace"))
    return Broken(
        message=f"{reference}: the pulling process died; the gateway's log has its last words.",
        code="disk_error",
    )
