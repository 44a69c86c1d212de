"""Engines started and stopped as `models.residency` decides: on demand, within a budget of memory.

One object, on one event loop. It alone changes the residency's state, and carries out every
decision at once; what takes time (a load, an unload) runs in a task that reports back.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from models.engine import Engine
from models.errors import EngineUnavailable, LoadFailed, ModelError, QueueFull
from models.footprint import Footprint
from models.residency import Residency, Ticket
from models.sizes import HOST, sizes
from models.types import EngineStats

__all__ = ["Lifecycle"]

log = logging.getLogger(__name__)

WAIT_S = 600.0  # for a turn and a load; then the request is told to come back
UNLOAD_S = 5.0  # for a worker without requests to end by itself
UNKNOWN_LOAD_S = 5.0  # a guess for Retry-After, where a model was never loaded
NOBODY = ""  # owner of what no request asks for


@dataclass
class _Hosted:
    """An engine, and what became of it."""

    name: str  # the model's id, for messages
    engine: Engine
    footprint: Footprint
    failure: Exception | None = None
    loading: asyncio.Task[None] | None = None  # the load that runs, or ran last
    load_s: float | None = None  # how long the last load took
    loads: int = 0


class Lifecycle:
    """`residency` must be new and is this object's alone; `clock` gives seconds."""

    def __init__(
        self,
        residency: Residency,
        *,
        min_residency_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._residency = residency
        self._min_residency_s = min_residency_s
        self._clock = clock
        self._hosted: dict[str, _Hosted] = {}
        self._turns: dict[Ticket, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def add(
        self,
        key: str,
        name: str,
        engine: Engine,
        footprint: Footprint,
        *,
        pinned: bool = False,
        idle_timeout_s: float | None = None,
    ) -> None:
        """An engine that is not started. `key` is its own, `name` what people call it."""
        self._hosted[key] = _Hosted(name, engine, footprint)
        self._residency.add(key, footprint, pinned=pinned, idle_timeout_s=idle_timeout_s)

    def remove(self, key: str) -> None:
        """Unload it when its last request is done, and forget it."""
        gone = EngineUnavailable(f"The model '{self._hosted[key].name}' was removed.")
        self._refuse(self._residency.remove(key), gone)
        self._step()
        self._forget(key)

    def known(self, key: str) -> bool:
        """Whether it was added and is not gone yet."""
        return key in self._hosted

    async def enter(self, key: str, owner: str) -> None:
        """Return when the model is loaded and has taken a request; `leave` when that is done.

        Raises QueueFull, EngineUnavailable.
        """
        if not self._known(key).enter(key, self._clock()):
            if self._residency.state(key) == "failed":
                raise EngineUnavailable(str(self._hosted[key].failure))
            await self._wait(self._ask(key, owner))

    def leave(self, key: str) -> None:
        """A request that entered is done, or gone."""
        self._residency.leave(key, self._clock())
        self._step()
        self._forget(key)

    async def load(self, key: str) -> None:
        """Return when the model is loaded; one that failed is tried again.

        Raises LoadFailed, QueueFull, EngineUnavailable, or what else its engine raised.
        """
        if self._known(key).enter(key, self._clock()):
            self.leave(key)
        else:
            await self._loaded(self._ask(key, NOBODY, load=True))

    def begin_load(self, key: str) -> None:
        """Load it in the background; a failure is logged, and told by `stats`.

        Raises EngineUnavailable where it never will fit.
        """
        if self._residency.excess([key]):
            raise EngineUnavailable(self._too_large(key))
        self._begin(self._load_quietly(key, self._ask(key, NOBODY, load=True)))

    def unload(self, key: str) -> None:
        """Unload it when its last request is done; a load that no request waits for ends now."""
        gone = EngineUnavailable(f"The model '{self._hosted[key].name}' was unloaded.")
        self._refuse(self._residency.unload(key), gone)
        self._step()

    def fits_now(self, key: str) -> bool:
        """Whether it can be loaded and nothing need be unloaded for it."""
        return self._residency.fits_now(key)

    def fit_together(self, keys: tuple[str, ...]) -> bool:
        """Whether these can all be loaded at once."""
        return not self._residency.excess(keys)

    def resident(self, key: str) -> bool:
        """Whether it is loaded, or will be soon."""
        return self._residency.state(key) in ("loading", "loaded")

    def loaded(self, key: str) -> bool:
        """Whether it is, even if its worker is being restarted."""
        return self._residency.state(key) == "loaded"

    def gave_up(self, key: str) -> None:
        """Its engine ended for good while it was loaded: its memory is back."""
        if key in self._hosted and self._residency.state(key) == "loaded":
            told = self._hosted[key].engine.stats()
            self._failed(key, LoadFailed(told.detail, told.log_tail))

    def stats(self, key: str) -> EngineStats:
        """What its engine says, as seen from outside: one that is not loaded is no failure."""
        if key not in self._hosted:
            return EngineStats(state="stopped", detail="removed")
        hosted, state = self._hosted[key], self._residency.state(key)
        told = hosted.engine.stats()
        waiting = self._residency.waiting(key)
        shown = replace(
            told,
            waiting=told.waiting + waiting,
            memory=hosted.footprint,
            load_s=hosted.load_s,
            loads=hosted.loads,
            evictions=self._residency.evictions(key),
        )
        match state:
            case "loaded":
                return shown
            case "loading":
                return replace(shown, state="loading", detail=told.detail or "loading")
            case "failed":
                tail = hosted.failure.log_tail if isinstance(hosted.failure, LoadFailed) else ""
                return replace(
                    shown, state="failed", detail=str(hosted.failure), log_tail=tail, running=0
                )
            case "unloading" if not waiting:
                return replace(shown, state="unloaded", detail="being unloaded", running=0)
            case _ if waiting:
                return replace(shown, state="loading", detail="waits for memory", running=0)
            case _:
                return replace(shown, state="unloaded", detail="", running=0)

    async def stop(self, deadline_s: float) -> None:
        """Stop every engine, all at once, within the deadline; requests inside fail."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._refuse(list(self._turns), EngineUnavailable("The gateway is shutting down."))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.engine.stop(deadline_s) for one in self._hosted.values()))

    def _known(self, key: str) -> Residency:
        """Raises EngineUnavailable for a model that a reload took away since it was looked up."""
        if self._residency.gone(key):
            raise EngineUnavailable("The model was removed or changed.", retry_after_s=1)
        return self._residency

    def _ask(self, key: str, owner: str, *, load: bool = False) -> Ticket:
        """Begin to wait. Raises QueueFull, EngineUnavailable."""
        if self._ended:
            raise EngineUnavailable("The gateway is shutting down.")
        if self._residency.full(owner):
            raise QueueFull(
                f"{self._residency.waiting()} requests wait for models to be loaded, as many as "
                "may (models.max_waiting).",
                self._turn_s(key),
            )
        self._hosted[key].failure = None  # it is tried again
        ticket = Ticket(key, owner, self._clock(), load)
        self._turns[ticket] = asyncio.get_running_loop().create_future()
        self._residency.ask(ticket)
        self._step()
        return ticket

    async def _wait(self, ticket: Ticket) -> None:
        """Return when it is admitted. Raises EngineUnavailable."""
        key, turn = ticket.model, self._turns[ticket]
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(key)  # admitted, and cancelled before it could know
            else:
                self._residency.cancel(ticket)
                self._step()
            if isinstance(error, TimeoutError):
                raise EngineUnavailable(
                    f"The model '{self._hosted[key].name}' could not be loaded within "
                    f"{WAIT_S:g} s.",
                    retry_after_s=self._turn_s(key),
                ) from None
            raise
        finally:
            self._turns.pop(ticket, None)

    def _turn_s(self, key: str) -> float:
        """About how long until a request that comes now has its turn."""
        ahead = {ticket.model for ticket in self._turns} | {key}
        known = (self._hosted[one].load_s for one in ahead if one in self._hosted)
        return sum(UNKNOWN_LOAD_S if one is None else one for one in known)

    def _step(self) -> None:
        """Let the residency decide, and do what it says."""
        if self._ended:
            return
        now = self._clock()
        actions = self._residency.step(now)
        if actions.thrashing is not None:
            self._tell_thrashing(*actions.thrashing)
        self._admit(actions.admit)
        for ticket in actions.refuse:
            self._refuse([ticket], EngineUnavailable(self._too_large(ticket.model)))
        for key in actions.load:
            self._hosted[key].loading = self._begin(self._load(key))
        for key in actions.unload:
            self._begin(self._unload(key))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if actions.wake_at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, actions.wake_at - now), self._step)

    def _admit(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            turn = self._turns[ticket]
            if turn.done():  # cancelled in this very moment, and its task has not run yet
                self._residency.leave(ticket.model, self._clock())
            else:
                turn.set_result(None)

    def _refuse(self, tickets: list[Ticket], error: ModelError) -> None:
        for ticket in tickets:
            turn = self._turns[ticket]
            if not turn.done():
                turn.set_exception(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _loaded(self, ticket: Ticket) -> None:
        """Wait for a load, and hold the model no longer."""
        key = ticket.model
        try:
            await self._wait(ticket)
        except EngineUnavailable:
            failure = self._hosted[key].failure if key in self._hosted else None
            if failure is not None:
                raise failure from None
            raise
        self.leave(key)

    async def _load_quietly(self, key: str, ticket: Ticket) -> None:
        try:
            await self._loaded(ticket)
        except EngineUnavailable as error:
            log.error("%s: %s", self._hosted[key].name if key in self._hosted else key, error)
        except Exception as error:  # it was logged where it happened
            log.debug("%s: %s", key, error)

    async def _load(self, key: str) -> None:
        hosted = self._hosted[key]
        began = self._clock()
        hosted.failure = None
        try:
            await hosted.engine.start()
        except Exception as error:
            self._failed(key, error)
            return
        hosted.load_s = self._clock() - began
        hosted.loads += 1
        self._admit(self._residency.loaded(key, self._clock()))
        self._step()

    async def _unload(self, key: str) -> None:
        hosted = self._hosted[key]
        if hosted.loading is not None and not hosted.loading.done():
            hosted.loading.cancel()
            # Waited for, so that a process that was just being spawned is there to be stopped.
            await asyncio.gather(hosted.loading, return_exceptions=True)
        try:
            await hosted.engine.stop(UNLOAD_S)
        except Exception:
            log.exception("%s: could not be stopped", hosted.name)
        log.info("%s is unloaded", hosted.name)
        self._residency.unloaded(key)
        self._step()
        self._forget(key)

    def _failed(self, key: str, error: Exception) -> None:
        hosted = self._hosted[key]
        hosted.failure = error
        if isinstance(error, ModelError):
            log.error("%s: %s", hosted.name, error)
        else:
            log.error("%s: could not be started", hosted.name, exc_info=error)
        if isinstance(error, LoadFailed) and error.log_tail:
            log.error("the end of its log:\n%s", error.log_tail)
        self._refuse(self._residency.failed(key), EngineUnavailable(str(error)))
        self._step()
        self._forget(key)

    def _forget(self, key: str) -> None:
        if not self._residency.known(key):
            self._hosted.pop(key, None)

    def _too_large(self, key: str) -> str:
        needs = sizes(self._hosted[key].footprint)
        excess = self._residency.excess([key])
        where = "; ".join(
            f"{needs[device] / 1e9:.2f} GB of {_place(device)}, and only "
            f"{(needs[device] - short) / 1e9:.2f} GB of it can be had"
            for device, short in excess.items()
            if device in needs
        )
        return (
            f"The model '{self._hosted[key].name}' cannot be loaded: it takes {where}. "
            "A smaller context or precision takes less; `jurat plan` shows what fits."
        )

    def _tell_thrashing(self, wanted: str, resident: str) -> None:
        log.warning(
            "%s and %s push each other out of memory; from now on each stays for %g s at least "
            "(models.min_residency_s). With memory for both, neither would wait.",
            self._hosted[wanted].name,
            self._hosted[resident].name,
            self._min_residency_s,
        )


def _place(device: int) -> str:
    return "the host's memory" if device == HOST else f"GPU {device}'s memory"
