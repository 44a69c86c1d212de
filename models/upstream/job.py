"""A server that runs only while it is asked: started by the first request, stopped when idle."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from models.errors import EngineUnavailable, LoadFailed
from models.upstream import commands
from models.upstream_settings import UpstreamSettings

__all__ = ["Job"]

log = logging.getLogger(__name__)
RUN_S = 60.0  # for one run of a `ready` command


class Job:
    """The commands `start`, `ready` and `stop` of one model; without `start` it always runs.

    Whoever asks the server holds it between `acquire` and `release`. All who come while it starts
    share one start. `probe` says whether a URL answers.
    """

    def __init__(
        self, model: str, settings: UpstreamSettings, probe: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._model = model
        self._settings = settings
        self._probe = probe
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None
        self._change: asyncio.Task[str] | None = None  # a start or a stop
        self._began = 0.0
        self._submitted = False
        self.failure = ""  # why the last start failed
        self.state: Literal["asleep", "starting", "running", "stopping"] = (
            "asleep" if settings.start else "running"
        )

    @property
    def detail(self) -> str:
        """For a person: what it is doing, unless it just runs."""
        match self.state:
            case "asleep":
                why = f" (the last start failed: {self.failure})" if self.failure else ""
                return f"not running{why}: the next request starts it"
            case "starting":
                return f"starting for {time.monotonic() - self._began:.0f} s: {self._name('start')}"
            case "stopping":
                return f"stopping: {self._name('stop')}"
            case "running":
                return ""

    async def acquire(self) -> None:
        """Wait until it runs, starting it if need be. Raises LoadFailed, EngineUnavailable."""
        self._users += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            await self.revive()
        except BaseException:
            self.release()
            raise

    async def revive(self) -> None:
        """The same for who holds it already, and has found that it was lost."""
        while self.state != "running":
            if self._change is None:
                self._begin(self._start(), "starting")
            change = self._change
            assert change is not None
            await asyncio.wait([change])  # a caller that goes does not end it for the others
            if change.cancelled():
                raise EngineUnavailable(f"The model '{self._model}' is being stopped.")
            failure = change.result()
            if failure:
                raise LoadFailed(f"The model '{self._model}' could not be started: {failure}")

    def release(self) -> None:
        """The request is done; the last one sets the idle time-out going."""
        self._users -= 1
        self._watch()

    def lost(self) -> None:
        """Nobody listens there any more: the next attempt looks, and starts it again."""
        if self._settings.start and self.state == "running":
            self.state = "asleep"

    async def stop(self, deadline_s: float) -> None:
        """End what was started, within the deadline."""
        if self._idle is not None:
            self._idle.cancel()
        try:
            async with asyncio.timeout(deadline_s):
                if self._change is not None:
                    if self.state == "starting":
                        self._change.cancel()
                    await asyncio.wait([self._change])
                if self._submitted:
                    await self._run_stop()
        except TimeoutError:
            log.error("%s: 'stop' was not done within %.1f s", self._model, deadline_s)

    def _begin(self, work: Awaitable[str], state: Literal["starting", "stopping"]) -> None:
        self.state, self._began = state, time.monotonic()

        async def finish() -> str:
            try:
                return await work
            finally:
                self._change = None
                if self.state == state:  # it was cancelled
                    self.state = "asleep"
                self._watch()

        self._change = asyncio.create_task(finish(), name=f"{state} {self._model}")

    async def _start(self) -> str:
        """Why it could not be, or nothing once it is ready. What runs already is left alone."""
        settings = self._settings
        problem, tail = "", ""
        try:
            async with asyncio.timeout(settings.start_timeout_s):
                if not await self._is_ready():
                    self._submitted = True
                    log.info("%s: %s", self._model, " ".join(settings.start))
                    problem, tail = await commands.run(
                        f"{self._model}: start", settings.start, settings.start_timeout_s
                    )
                    while not problem and not await self._is_ready():  # noqa: ASYNC110 - no event
                        await asyncio.sleep(settings.ready_interval_s)
        except TimeoutError:
            limit = settings.start_timeout_s
            problem = f"was not followed within {limit:g} s by a server that is ready"
        if not problem:
            self._submitted = True
            self.state, self.failure = "running", ""
            return ""
        log.error("%s: %s %s\n%s", self._model, self._name("start"), problem, tail)
        await self._run_stop()  # of what was begun nothing may be left running
        self.state = "asleep"
        said = f" Its last output: {tail}" if tail else ""
        self.failure = f"{self._name('start')} {problem}.{said}"
        return self.failure

    async def _is_ready(self) -> bool:
        ready = self._settings.ready
        if isinstance(ready, str):
            return await self._probe(ready)
        name = f"{self._model}: ready"
        return not (await commands.run(name, ready, RUN_S, quiet=True)).problem

    async def _stop(self) -> str:
        self.state = "asleep" if await self._run_stop() else "running"
        return ""

    async def _run_stop(self) -> bool:
        """Whether it succeeded; if not, it is tried again after the next idle time-out."""
        if not self._settings.stop:
            return True
        name = f"{self._model}: stop"
        problem, tail = await commands.run(name, self._settings.stop, self._settings.stop_timeout_s)
        if problem:
            log.error("%s: %s %s\n%s", self._model, self._name("stop"), problem, tail)
            return False
        self._submitted = False
        return True

    def _watch(self) -> None:
        """Set the idle time-out, if there is one and nobody asks."""
        wait_s = self._settings.idle_timeout_s
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if wait_s is not None and self.state == "running" and not self._users:
            self._idle = asyncio.get_running_loop().call_later(wait_s, self._on_idle)

    def _on_idle(self) -> None:
        self._idle = None
        if not self._users and self.state == "running" and self._change is None:
            log.info("%s: idle for %g s", self._model, self._settings.idle_timeout_s)
            self._begin(self._stop(), "stopping")

    def _name(self, command: Literal["start", "stop"]) -> str:
        return f"'{command}' ({getattr(self._settings, command)[0]})"
