"""The pure scheduler, its slots and what is parked, driven through random workloads.

There is no model: an answer is as long as it was drawn to be. The cache is the reference cache,
which knows nothing of the policy, and the books of both are compared after every event.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from models.worker import parked, scheduler, slots
from models.worker.pace import Budget
from models.worker.parked import ParkedPrefixes
from models.worker.prefix import common_prefix
from models.worker.scheduler import FLEX_TURN, Piece, Placed, Scheduler
from models.worker.slots import Dropped, Slots
from models.worker.waiting import Sequence as Request
from tests.unit.models.reference_cache import ReferenceCache

BATCH = 8
WORTH_WAITING = 4
LONGEST = 40  # tokens of a request at its end: the cache holds one at least


@dataclass(frozen=True)
class World:
    """How much of everything there is."""

    parallel: int
    cells: int
    parked_tokens: int
    budget: Budget
    apart: int = 0  # tokens of a prompt that may be read apart


@dataclass(frozen=True)
class Arrival:
    """A request to come."""

    owner: str
    flex: bool
    prompt: tuple[int, ...]
    answer: int


@dataclass(frozen=True)
class Cancel:
    """One of those present goes, by its place among them."""

    which: int


@dataclass(frozen=True)
class Steps:
    """Time passes. A step finds no room in the cache where its number is in `refused`."""

    count: int
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LoseParked:
    """The next prefix that is to be copied back finds no place."""


Event = Arrival | Cancel | Steps | LoseParked


@dataclass
class Simulation:
    """The generation loop without a model: its calls in its order, and a check after each."""

    world: World
    limit: dict[int, int] = field(default_factory=dict[int, int])  # tokens at a request's end
    flex: dict[int, bool] = field(default_factory=dict[int, bool])  # as asked for
    begun: set[int] = field(default_factory=set[int])
    finished: set[int] = field(default_factory=set[int])
    lose_parked: bool = False
    submitted: int = 0
    steps: int = 0
    preemptions: int = 0

    def __post_init__(self) -> None:
        self.count = self.world.parallel + 1
        self.parked = ParkedPrefixes(self.world.parked_tokens)
        self.parked.learn(1, 1)
        self.slots = Slots(self.count, self.world.cells, self.parked)
        self.scheduler = Scheduler(self.slots, self.world.parallel, BATCH, max_waiting=10_000)
        self.scheduler.apart = self.world.apart
        self.held: Request | None = None  # whose prompt is read apart
        self.owner: dict[int, str] = {}
        self.cache = ReferenceCache(self.world.cells, lambda slot: self.owner[slot])

    @property
    def present(self) -> list[Request]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    def submit(self, arrival: Arrival) -> Request:
        self.submitted += 1
        number = self.submitted
        prompt = list(arrival.prompt)
        request = Request(number, arrival.owner, prompt, len(prompt), arrival.flex)
        self.limit[number] = min(len(prompt) + arrival.answer, LONGEST)
        self.flex[number] = arrival.flex
        assert self.scheduler.submit(request)
        return request

    def cancel(self, request: Request) -> None:
        self.drop(self.scheduler.remove(request))
        self.finished.add(request.id)
        self.check()

    def step(self, *, refused: bool = False) -> None:
        self.steps += 1
        self.admit()
        read = self.read()
        pieces = self.plan()
        self.check_pieces(pieces, read=read)
        if refused and len(self.scheduler.running) > 1:
            self.drop(self.scheduler.make_room(self.world.cells))
            self.preempt()
        elif pieces:
            self.decode(pieces)
        self.check()

    def admit(self) -> None:
        for event in self.scheduler.admit():
            if not isinstance(event, Placed):
                self.preemptions += 1
                self.drop(event.dropped)
                continue
            request, placement = event.sequence, event.placement
            if request.id not in self.begun:
                self.begun.add(request.id)
                self.check_order(request)
            self.drop(placement.drop)
            self.owner[placement.slot] = request.owner
            if placement.source is not None:
                self.cache.share(placement.source, placement.slot, placement.keep)
            elif placement.restore is not None and self.lose_parked:
                self.lose_parked = False
                self.scheduler.restart(request)
            elif placement.restore is not None:
                self.cache.append(placement.slot, 0, placement.restore.state)
            self.cache.cut(placement.slot, request.past)
            assert request.past < len(request.tokens), "its last token's logits are wanted"
            self.check()

    def plan(self) -> list[Piece]:
        while True:
            pieces = self.scheduler.plan(self.world.budget)
            if self.has_room(sum(len(piece.tokens) for piece in pieces)):
                return pieces

    def has_room(self, cells: int) -> bool:
        self.drop(self.scheduler.make_room(cells))
        if cells <= self.slots.free_cells:
            return True
        self.preempt()
        return False

    def read(self) -> bool:
        """A piece of a prompt apart, brought at once where it is the last or another's turn."""
        held = self.held
        reading = self.scheduler.to_read(1)
        if held is not None and held not in reading and held.unread and held.read > held.past:
            self.bring(held)
            reading = self.scheduler.to_read(1)
        self.held = reading[0] if reading else None
        if self.held is None:
            return False
        if self.held is not held:
            self.held.read = self.held.past
        request = self.held
        self.scheduler.read(request, min(request.known - 1 - request.read, 3))
        if request.read == request.known - 1:
            self.bring(request)
        return True

    def bring(self, request: Request) -> None:
        while request.slot is not None and not self.has_room(request.read - request.past):
            pass
        if request.slot is None:
            return  # it gave way itself
        self.cache.append(request.slot, request.past, request.tokens[request.past : request.read])
        self.scheduler.bring(request)

    def preempt(self) -> None:
        found = self.scheduler.preempt()
        assert found is not None, "one request does not fit the cache"
        assert found.sequence.flex or not any(each.flex for each in self.scheduler.running)
        self.preemptions += 1
        self.drop(found.dropped)

    def decode(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            assert piece.sequence.slot is not None
            self.cache.append(piece.sequence.slot, piece.start, piece.tokens)
        self.scheduler.done(pieces)
        for request in [piece.sequence for piece in pieces if piece.logits]:
            request.tokens.append(1000 + request.id)  # nobody else says the same
            if len(request.tokens) >= self.limit[request.id]:
                self.finished.add(request.id)
                self.drop(self.scheduler.remove(request))

    def drop(self, dropped: Iterable[Dropped]) -> None:
        for each in dropped:
            assert each.tokens == self.cache.tokens(each.slot)
            if self.parked.wants(each.tokens, self.owner[each.slot]):
                self.parked.add(each.tokens, self.owner[each.slot], tuple(each.tokens))
            self.cache.cut(each.slot, 0)

    def check_pieces(self, pieces: Sequence[Piece], *, read: bool) -> None:
        assert sum(len(piece.tokens) for piece in pieces) <= BATCH
        assert len({piece.sequence.id for piece in pieces}) == len(pieces)
        assert pieces or read or not self.scheduler.running, "nobody gets on"
        assert all(piece.sequence.unread == 0 for piece in pieces)
        for piece in pieces:
            request, end = piece.sequence, piece.start + len(piece.tokens)
            assert request in self.scheduler.running
            assert piece.start == request.past < end
            assert piece.tokens == request.tokens[piece.start : end]
            assert piece.logits == (end == len(request.tokens))

    def check(self) -> None:
        running = self.scheduler.running
        taken = {each.slot for each in running}
        assert len(taken) == len(running) <= self.world.parallel
        holding = {slot for cell in self.cache.cells for slot in cell.sequences}
        assert len(holding | taken) <= self.count
        assert self.slots.free_cells == self.world.cells - len(self.cache.cells)
        idle = [cell for cell in self.cache.cells if not cell.sequences & taken]
        assert self.slots.idle_cells == len(idle)
        assert self.parked.bytes <= self.world.parked_tokens
        for request in running:
            assert request.slot is not None
            assert self.cache.tokens(request.slot) == request.tokens[: request.past]
        assert {each.id for each in self.present} == set(self.limit) - self.finished

    def check_order(self, begun: Request) -> None:
        """Nobody begins before an earlier one of the owner's tier, who does not wait for a prefill
        that they share."""
        for other in self.scheduler.waiting:
            if (
                other.id not in self.begun
                and other.arrival < begun.arrival
                and (other.owner, self.flex[other.id]) == (begun.owner, self.flex[begun.id])
            ):
                assert other.awaits in self.scheduler.running
                assert other.awaits is not None
                assert common_prefix(other.awaits.tokens, other.tokens) >= WORTH_WAITING

    def finish(self) -> None:
        """All is answered, within what the work would cost one at a time, and then some."""
        work = sum(self.limit[each.id] for each in self.present)
        bound = self.steps + 20 + 4 * work
        while self.present:
            assert self.steps < bound, "somebody starves"
            self.step()
        for _ in range(self.count):
            assert self.slots.take([0], "someone new") is not None, "a slot is lost"
        assert self.slots.take([0], "someone new") is None


@contextlib.contextmanager
def small_world() -> Iterator[None]:
    with (
        mock.patch.multiple(scheduler, WORTH_WAITING=WORTH_WAITING, LEAST_APART=6, TURN_APART=10),
        mock.patch.object(parked, "WORTH_PARKING", 3),
        mock.patch.object(slots, "WORTH_RESTORING", 3),
    ):
        yield


worlds = st.builds(
    World,
    parallel=st.integers(1, 5),
    cells=st.integers(LONGEST, 3 * LONGEST),
    parked_tokens=st.sampled_from([0, 30, 200]),
    budget=st.sampled_from([Budget(1, 1), Budget(2, 4), Budget(8, 8)]),
    apart=st.sampled_from([0, 20, LONGEST]),
)
# Few beginnings, so that prompts share prefixes of every length.
prompts = st.builds(
    lambda stem, cut, tail: (*range(100 * stem, 100 * stem + cut), *tail) or (0,),
    st.integers(0, 2),
    st.integers(0, 25),
    st.lists(st.integers(0, 3), max_size=8).map(tuple),
)
arrivals = st.builds(
    Arrival,
    owner=st.sampled_from(["ann", "ann", "bob", "cid"]),
    flex=st.booleans(),
    prompt=prompts,
    answer=st.integers(1, 30),
)
steps = st.builds(Steps, st.integers(1, 12), st.frozensets(st.integers(0, 11), max_size=2))
events = st.one_of(
    arrivals,
    arrivals,
    st.lists(arrivals, min_size=2, max_size=6),
    steps,
    steps,
    st.builds(Cancel, st.integers(0, 30)),
    st.just(LoseParked()),
)


def run(simulation: Simulation, event: Event) -> None:
    match event:
        case Arrival():
            simulation.submit(event)
        case Cancel():
            if present := simulation.present:
                simulation.cancel(present[event.which % len(present)])
        case Steps():
            for number in range(event.count):
                simulation.step(refused=number in event.refused)
        case LoseParked():
            simulation.lose_parked = True


@settings(max_examples=400)
@given(worlds, st.lists(events, max_size=25))
def test_any_workload_is_done_in_order_and_leaves_nothing(
    world: World, plan: list[Event | list[Arrival]]
) -> None:
    with small_world():
        simulation = Simulation(world)
        for event in plan:
            for each in event if isinstance(event, list) else [event]:
                run(simulation, each)
            simulation.check()
        simulation.finish()


def flood(simulation: Simulation, others: list[Arrival], until: Request) -> int:
    """Steps until one request is done while others never cease to come."""
    began, at = simulation.steps, 0
    while until.id not in simulation.finished:
        while len(simulation.scheduler.waiting) < 3 * simulation.world.parallel:
            simulation.submit(others[at % len(others)])
            at += 1
        simulation.step()
        assert simulation.steps - began < 5000, "it starves"
    return simulation.steps - began


@settings(max_examples=60)
@given(
    worlds,
    st.lists(arrivals.filter(lambda each: not each.flex), min_size=1, max_size=5),
    arrivals,
    st.booleans(),
)
def test_nobody_starves_in_a_flood(
    world: World, others: list[Arrival], one: Arrival, flooded_first: bool
) -> None:
    """Flex among normal work without end, and whoever is alone against a crowd."""
    with small_world():
        simulation = Simulation(world)
        if flooded_first:
            for other in others:
                simulation.submit(other)
            simulation.step()
        request = simulation.submit(one)
        simulation.check()
        taken = flood(simulation, others, request)
        # At the worst it is computed alone, after as many others as may go before it.
        work = max(simulation.limit.values())
        before = FLEX_TURN * (2 + len(simulation.scheduler.running)) + 3 * world.parallel
        assert taken <= 4 * work * (before + 1)


@settings(max_examples=60)
@given(
    st.sampled_from([Budget(1, 1), Budget(2, 4), Budget(8, 8)]),
    st.integers(0, 3),
    st.integers(1, 20),
    st.booleans(),
)
def test_a_flex_prompt_gets_pieces_beside_long_prompts_without_end(
    budget: Budget, served_before: int, length: int, streaming: bool
) -> None:
    """As many as leave it its slot, and its owner served in its tier more than all others."""
    with small_world():
        simulation = Simulation(World(4, 4 * LONGEST, 0, budget))
        numbers = itertools.count(1000, 100)

        def arrival(owner: str, flex: bool, prompt: int, answer: int) -> Arrival:
            start = next(numbers)
            return Arrival(owner, flex, tuple(range(start, start + prompt)), answer)

        def others() -> None:
            running = [each for each in simulation.present if each.owner == "bob"]
            if len(running) < 2:
                simulation.submit(arrival("bob", flex=False, prompt=LONGEST - 1, answer=1))

        others()  # somebody is always there, or what was served is forgotten
        for _ in range(served_before):
            before = simulation.submit(arrival("ann", flex=True, prompt=4, answer=30))
            while before.id not in simulation.finished:
                simulation.step()
                others()
        if streaming:
            simulation.submit(arrival("cid", flex=False, prompt=1, answer=LONGEST))
        one = simulation.submit(arrival("ann", flex=True, prompt=length, answer=1))
        began = simulation.steps
        while one.id not in simulation.finished:
            simulation.step()
            others()
            assert simulation.steps - began < 2 * (FLEX_TURN + 2) * (length + 3), "it starves"
