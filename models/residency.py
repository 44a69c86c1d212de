"""Which models are in memory: what to load, what to unload, who waits. Pure: no clock, no engine.

Requests come in with `ask` and go with `leave`; whoever runs the engines reports `loaded`,
`failed` and `unloaded`, and after each of these carries out what `step` says. All times are
seconds of one clock that never goes back, all sizes bytes.

- A request for a loaded model enters at once. Others wait, and their models are loaded in the order
  of their oldest request, into free memory or in the place of the models used least recently that
  have no requests. Memory that is coming back is reserved for who waited longest.
- A model that has requests is never unloaded. Once a request has waited for its place for
  `patience_s`, the model takes no new ones; these wait until it is loaded again.
- Two models that push each other out while both are asked for (contended swaps) do so at most
  `BURST` times in `BURST x min_residency_s`; then each stays for `min_residency_s` after its load.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from models.footprint import Footprint
from models.sizes import Sizes, add, added, beyond, reserve, sizes, take

__all__ = ["Actions", "Residency", "State", "Ticket"]

State = Literal["unloaded", "loading", "loaded", "unloading", "failed"]
BURST = 4  # contended swaps in a row before a minimum residency is kept


@dataclass(eq=False)
class Ticket:
    """A request, or (`load`) somebody who only wants a model loaded, since `arrived`."""

    model: str
    owner: str
    arrived: float
    load: bool = False


@dataclass
class Actions:
    """What is to be done now. `wake_at` is when to call `step` again if nothing happens before.

    `refuse` are those for whom there never will be room. `thrashing` names a model and the one it
    would push out, when that is first held up.
    """

    load: list[str] = field(default_factory=list[str])
    unload: list[str] = field(default_factory=list[str])
    admit: list[Ticket] = field(default_factory=list[Ticket])
    refuse: list[Ticket] = field(default_factory=list[Ticket])
    wake_at: float | None = None
    thrashing: tuple[str, str] | None = None

    def wake(self, at: float) -> None:
        """Be called again at this time, or earlier."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


@dataclass
class _Model:
    needs: Sizes
    pinned: bool
    idle_timeout_s: float | None
    state: State = "unloaded"
    running: int = 0
    loaded_at: float = 0.0
    last_used: float = 0.0  # when a request last entered or left
    leaving: bool = False  # unload when the last request is gone
    forget: bool = False  # and never load again
    evictions: int = 0


class Residency:
    """The models of one budget. `budget` None is memory without end."""

    def __init__(
        self,
        budget: Footprint | None,
        *,
        max_waiting: int = 64,
        min_residency_s: float = 10.0,
        patience_s: float = 2.0,
    ) -> None:
        self._budget = None if budget is None else sizes(budget)
        self._max_waiting = max_waiting
        self._min_residency_s = min_residency_s
        self._patience_s = patience_s
        self._models: dict[str, _Model] = {}
        self._waiting: list[Ticket] = []  # in the order of their arrival
        self._draining: set[str] = set()  # take no requests, as of the last step
        self._swaps: deque[float] = deque(maxlen=BURST)
        self._held = False

    def add(
        self,
        model: str,
        footprint: Footprint,
        *,
        pinned: bool = False,
        idle_timeout_s: float | None = None,
    ) -> None:
        """A model that is not loaded."""
        self._models[model] = _Model(sizes(footprint), pinned, idle_timeout_s)

    def remove(self, model: str) -> list[Ticket]:
        """Unload it when its last request is gone, and forget it. Returns who waited for it."""
        found = self._models[model]
        found.forget = found.leaving = True
        refused = self._refuse(model)
        self._forget(model)
        return refused

    def known(self, model: str) -> bool:
        """Whether it was added and is not forgotten yet."""
        return model in self._models

    def gone(self, model: str) -> bool:
        """Whether it was removed: nobody may ask for it, though it may still be loaded."""
        return model not in self._models or self._models[model].forget

    def state(self, model: str) -> State:
        """Where it is now."""
        return self._models[model].state

    def running(self, model: str) -> int:
        """Requests inside it."""
        return self._models[model].running

    def evictions(self, model: str) -> int:
        """How often it was unloaded to make room."""
        return self._models[model].evictions

    def waiting(self, model: str | None = None) -> int:
        """Requests that wait for it, or for any."""
        return sum(1 for ticket in self._waiting if model in (None, ticket.model))

    def idle(self, model: str) -> bool:
        """Loaded, and no request inside or waiting."""
        found = self._models[model]
        return found.state == "loaded" and not found.running and not self.waiting(model)

    def used(self) -> Sizes:
        """Bytes held by models that are loaded, coming or going."""
        total: Sizes = {}
        for one in self._models.values():
            if one.state in ("loading", "loaded", "unloading"):
                add(total, one.needs)
        return total

    def excess(self, models: Iterable[str]) -> Sizes:
        """By how much these and what cannot be unloaded exceed the budget together, by device."""
        chosen = {
            *models,
            *(
                name
                for name, one in self._models.items()
                if one.pinned and not one.leaving and one.state in ("loading", "loaded")
            ),
        }
        total: Sizes = {}
        for name in chosen:
            add(total, self._models[name].needs)
        return {} if self._budget is None else beyond(total, self._budget)

    def fits_now(self, model: str) -> bool:
        """Whether it can be loaded and nothing need go for it."""
        return not beyond(self._models[model].needs, self._free())

    def full(self, owner: str) -> bool:
        """Whether a request of this owner may not wait: too many do, of theirs among them."""
        if len(self._waiting) < self._max_waiting:
            return False
        return any(ticket.owner == owner for ticket in self._waiting)

    def enter(self, model: str, now: float) -> bool:
        """Let a request in at once, if its model is loaded and takes requests."""
        found = self._models[model]
        if found.state != "loaded" or found.leaving or model in self._draining:
            return False
        found.running += 1
        found.last_used = now
        return True

    def ask(self, ticket: Ticket) -> None:
        """Wait for a model; `step` admits. A model that failed is tried again."""
        found = self._models[ticket.model]
        if found.state == "failed":
            found.state = "unloaded"
        self._waiting.append(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Wait no more; nothing happens to one that was admitted."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)

    def leave(self, model: str, now: float) -> None:
        """A request that entered or was admitted is done."""
        found = self._models[model]
        found.running -= 1
        found.last_used = now
        self._forget(model)

    def unload(self, model: str) -> list[Ticket]:
        """Unload it when its last request is gone; requests to come load it again.

        Returns who waited for its load alone, and waits no more.
        """
        found = self._models[model]
        if found.state in ("loading", "loaded"):
            found.leaving = True
        return self._dismiss([one for one in self._waiting if one.model == model and one.load])

    def loaded(self, model: str, now: float) -> list[Ticket]:
        """It is; who waited for it enters now, before anybody can want its place."""
        found = self._models[model]
        found.state = "loaded"
        found.loaded_at = found.last_used = now
        return self._admit([ticket for ticket in self._waiting if ticket.model == model], now)

    def failed(self, model: str) -> list[Ticket]:
        """It could not be loaded, or is given up; who waited for it is told."""
        self._models[model].state = "failed"
        self._models[model].leaving = False
        refused = self._refuse(model)
        self._forget(model)
        return refused

    def unloaded(self, model: str) -> None:
        """Its memory is back."""
        found = self._models[model]
        found.state = "unloaded"
        found.leaving = found.forget
        self._forget(model)

    def step(self, now: float) -> Actions:
        """Decide. The states change as if all that is to be begun had begun."""
        actions = Actions()
        self._draining = self._make_room(now, actions)
        entering = [
            ticket
            for ticket in self._waiting
            if self._models[ticket.model].state == "loaded"
            and not self._models[ticket.model].leaving
            and ticket.model not in self._draining
        ]
        actions.admit = self._admit(entering, now)
        for name, one in self._models.items():
            if one.running:
                continue
            if one.state == "loading" and one.leaving and not self.waiting(name):
                self._begin_unload(name, actions)
            if one.state != "loaded":
                continue
            if one.leaving:
                self._begin_unload(name, actions)
            elif one.idle_timeout_s is not None and not self.waiting(name):
                at = one.last_used + one.idle_timeout_s
                if now >= at:
                    self._begin_unload(name, actions)
                else:
                    actions.wake(at)
        return actions

    def _make_room(self, now: float, actions: Actions) -> set[str]:
        """Begin loads, and make room for those that do not fit. Returns who must drain."""
        draining: set[str] = set()
        free = self._free()
        coming: Sizes = {}
        chosen: set[str] = set()  # leave already, for somebody or because they were told to
        for name, one in self._models.items():
            if one.state == "unloading" or (one.state in ("loading", "loaded") and one.leaving):
                add(coming, one.needs)
                chosen.add(name)
        held = False
        for ticket in self._wanted():
            if self.excess([ticket.model]):
                actions.refuse += self._refuse(ticket.model)
                continue
            needs = self._models[ticket.model].needs
            if not beyond(needs, free):
                self._models[ticket.model].state = "loading"
                actions.load.append(ticket.model)
                take(free, needs)
                continue
            short = beyond(needs, added(free, coming))
            victims = self._victims(short, chosen) if short else []
            held |= self._evict(victims, ticket, now, actions, draining)
            chosen.update(victims)
            for victim in victims:
                add(coming, self._models[victim].needs)
            reserve(needs, coming, free)
        self._held = held
        return draining

    def _evict(
        self, victims: list[str], ticket: Ticket, now: float, actions: Actions, draining: set[str]
    ) -> bool:
        """Unload them, or make them drain, if it is time. True if thrashing holds it up."""
        models = [self._models[victim] for victim in victims]
        contended = any(one.running or one.last_used > ticket.arrived for one in models)
        until = max((one.loaded_at + self._min_residency_s for one in models), default=now)
        if contended and self._thrashing(now) and now < until:
            actions.wake(until)
            if not self._held:
                actions.thrashing = (ticket.model, victims[0])
            return True
        patient_until = ticket.arrived + self._patience_s
        if any(one.running for one in models) and now < patient_until:
            actions.wake(patient_until)
            return False
        for victim, one in zip(victims, models, strict=True):
            if one.running:
                draining.add(victim)
                continue
            one.evictions += 1
            self._begin_unload(victim, actions)
            if one.last_used > ticket.arrived:
                self._swaps.append(now)
        return False

    def _thrashing(self, now: float) -> bool:
        window_s = BURST * self._min_residency_s
        return len(self._swaps) == BURST and self._swaps[0] > now - window_s

    def _wanted(self) -> list[Ticket]:
        """The oldest request of each model that is to be loaded, oldest first."""
        oldest: dict[str, Ticket] = {}
        for ticket in self._waiting:
            if self._models[ticket.model].state == "unloaded":
                oldest.setdefault(ticket.model, ticket)
        return list(oldest.values())

    def _victims(self, short: Sizes, excluded: set[str]) -> list[str]:
        """The idle ones used least recently, then those with requests, that free what is short.

        Who drains already goes on, so that nobody's place is promised anew with each request.
        None of them where not even all would do.
        """
        able = [
            name
            for name, one in self._models.items()
            if one.state == "loaded"
            and not one.pinned
            and name not in excluded
            and any(device in one.needs for device in short)
        ]
        able.sort(
            key=lambda name: (
                self._models[name].running > 0,
                name not in self._draining,
                self._models[name].last_used,
            )
        )
        chosen: list[str] = []
        freed: Sizes = {}
        for name in able:
            if any(freed.get(device, 0) < short[device] for device in self._shared(name, short)):
                chosen.append(name)
                add(freed, self._models[name].needs)
        if beyond(short, freed):
            return []
        for name in list(reversed(chosen)):  # a later, larger one may have made it needless
            without = {d: freed[d] - self._models[name].needs.get(d, 0) for d in freed}
            if not beyond(short, without):
                chosen.remove(name)
                freed = without
        return chosen

    def _shared(self, name: str, short: Sizes) -> list[int]:
        return [device for device in short if device in self._models[name].needs]

    def _free(self) -> Sizes | None:
        if self._budget is None:
            return None
        used = self.used()
        devices = {*self._budget, *used}
        return {d: self._budget.get(d, 0) - used.get(d, 0) for d in devices}

    def _admit(self, tickets: list[Ticket], now: float) -> list[Ticket]:
        entering = set(tickets)
        self._waiting = [ticket for ticket in self._waiting if ticket not in entering]
        for ticket in tickets:
            self._models[ticket.model].running += 1
            self._models[ticket.model].last_used = now
        return tickets

    def _refuse(self, model: str) -> list[Ticket]:
        return self._dismiss([ticket for ticket in self._waiting if ticket.model == model])

    def _dismiss(self, tickets: list[Ticket]) -> list[Ticket]:
        self._waiting = [ticket for ticket in self._waiting if ticket not in tickets]
        return tickets

    def _begin_unload(self, model: str, actions: Actions) -> None:
        self._models[model].state = "unloading"
        actions.unload.append(model)

    def _forget(self, model: str) -> None:
        found = self._models[model]
        if found.forget and not found.running and found.state in ("unloaded", "failed"):
            del self._models[model]
