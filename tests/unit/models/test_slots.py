import contextlib
from collections.abc import Generator, Iterable
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.worker import parked, slots
from models.worker.parked import ParkedPrefixes
from models.worker.prefix import common_prefix
from models.worker.slots import Dropped, Placement, Slots
from tests.unit.models.reference_cache import ReferenceCache

COUNT, CELLS = 5, 40
BUDGET = 30  # tokens parked
LONGEST = 12  # tokens of one sequence that is parked
NOTHING = ParkedPrefixes(0)

tokens_of = st.lists(st.integers(0, 2), min_size=1, max_size=16)
owners = st.sampled_from(["ann", "bob"])


@contextlib.contextmanager
def small_world() -> Generator[None]:
    with (
        mock.patch.object(parked, "WORTH_PARKING", 2),
        mock.patch.object(slots, "WORTH_RESTORING", 2),
    ):
        yield


class SlotsAgainstCache(RuleBasedStateMachine):
    """Random use of Slots, every decision applied to a cache that knows no better."""

    split = False

    def __init__(self) -> None:
        super().__init__()
        self.parked = ParkedPrefixes(BUDGET)
        self.parked.learn(LONGEST, BUDGET)
        cells = COUNT * CELLS if self.split else CELLS
        self.slots = Slots(COUNT, cells, self.parked, split=self.split)
        self.owner: dict[int, str] = {}
        self.cache = ReferenceCache(cells, lambda sequence: self.owner[sequence])
        self.private: set[int] = set()  # sequences whose tokens nobody else may see
        self.busy: dict[int, list[int]] = {}

    def drop(self, dropped: Iterable[Dropped]) -> None:
        for each in dropped:
            assert each.slot not in self.busy
            assert each.tokens == self.cache.tokens(each.slot)
            assert each.scope == self.owner[each.slot] or not each.park
            assert each.park == (each.slot not in self.private)
            if each.park and self.parked.wants(each.tokens, each.scope):
                self.parked.add(each.tokens, each.scope, tuple(each.tokens))
            self.private.discard(each.slot)
            self.cache.cut(each.slot, 0)

    @rule(tokens=tokens_of, owner=owners, lost=st.booleans())
    def take(self, tokens: list[int], owner: str, lost: bool) -> None:
        """`lost`: what was parked cannot be copied back."""
        before = {slot: self.cache.tokens(slot) for slot in range(COUNT)}
        owners_before = dict(self.owner)
        resident = max(
            (
                min(common_prefix(before[slot], tokens), len(tokens) - 1)
                for slot in range(COUNT)
                if owners_before.get(slot) == owner and slot not in self.private
            ),
            default=0,
        )
        reusable = self.slots.reusable(tokens, owner)
        assert reusable >= resident
        needed, room = self.slots.cells_needed(tokens, owner)
        assert needed == len(tokens) - resident
        with small_world():
            placement = self.slots.take(tokens, owner)
        if placement is None:
            assert len(self.busy) == COUNT
            return
        assert placement.slot not in self.busy
        assert resident <= placement.keep < len(tokens)
        self.drop(placement.drop)
        self.owner[placement.slot] = owner
        if placement.source is not None:
            assert owners_before[placement.source] == owner
            assert placement.source not in self.private
            if self.split:
                source = self.cache.tokens(placement.source)
                self.cache.append(placement.slot, 0, source[: placement.keep])
            else:
                self.cache.share(placement.source, placement.slot, placement.keep)
        elif placement.restore is not None:
            assert placement.restore.scope == owner
            assert isinstance(placement.restore.state, tuple)
            if lost:
                self.slots.forget(placement.slot)
            else:
                self.cache.append(placement.slot, 0, placement.restore.state)
                self.cache.cut(placement.slot, placement.keep)
        else:
            self.cache.cut(placement.slot, placement.keep)
        keep = 0 if placement.restore is not None and lost else placement.keep
        assert self.cache.tokens(placement.slot) == tokens[:keep]
        for slot, held in self.busy.items():
            assert self.cache.tokens(slot) == held
        self.busy[placement.slot] = tokens[:keep]
        if placement.restore is None:
            assert placement.keep == resident
        if placement.restore is None and not self.split:
            assert self.slots.free_cells + self.slots.idle_cells == room

    @precondition(lambda self: not self.busy)
    @rule()
    def take_alone(self) -> None:
        placement = self.slots.take_alone()
        self.drop(placement.drop)
        assert (placement.slot, placement.keep, self.cache.cells) == (0, 0, [])
        self.owner[0] = "alone"
        self.busy[0] = []
        self.private.add(0)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), tokens=tokens_of)
    def extend(self, data: st.DataObject, tokens: list[int]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.busy)))
        held = len(self.busy[slot])
        tokens = tokens[: CELLS - held if self.split else self.slots.free_cells]
        self.cache.append(slot, len(self.busy[slot]), tokens)
        self.slots.extend(slot, tokens)
        self.busy[slot] = self.busy[slot] + tokens

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), keep=st.booleans())
    def release(self, data: st.DataObject, keep: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.busy)))
        del self.busy[slot]
        private = slot in self.private
        self.drop(self.slots.release(slot, keep=keep))
        self.private.discard(slot)
        assert (keep and not private) or not self.cache.tokens(slot)
        idle = [n for n in range(COUNT) if n not in self.busy and self.cache.tokens(n)]
        assert not keep or len(idle) <= 1
        assert all(len(self.cache.tokens(n)) > LONGEST for n in idle)

    @rule()
    def drop_oldest_idle(self) -> None:
        dropped = self.slots.drop_oldest_idle()
        assert dropped or self.slots.idle_cells == 0
        self.drop(dropped)

    @invariant()
    def counts_agree(self) -> None:
        assert self.slots.free_cells == self.cache.capacity - len(self.cache.cells)
        idle = [cell for cell in self.cache.cells if not cell.sequences & set(self.busy)]
        assert self.slots.idle_cells == len(idle)
        for slot, held in self.busy.items():
            assert self.cache.tokens(slot) == held


class SplitSlotsAgainstCache(SlotsAgainstCache):
    """The same where each sequence has cells of its own."""

    split = True


TestSlotsAgainstCache = SlotsAgainstCache.TestCase
TestSplitSlotsAgainstCache = SplitSlotsAgainstCache.TestCase


def test_common_prefix_agrees_with_counting() -> None:
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2, 3], [1, 2]) == 2
    assert common_prefix([1, 2, 3, 4], [1, 2, 9, 4]) == 2


def test_an_idle_prefix_is_continued_in_place_when_most_of_it_is_kept() -> None:
    subject = Slots(2, 100, NOTHING)
    first = subject.take([1, 2, 3, 4], "ann")
    assert first is not None
    subject.extend(first.slot, [1, 2, 3, 4])
    subject.release(first.slot)
    assert subject.take([1, 2, 3, 5], "ann") == Placement(first.slot, 3)


def test_a_long_idle_prefix_survives_a_request_that_shares_little_of_it() -> None:
    subject = Slots(2, 100, NOTHING)
    first = subject.take(list(range(10)), "ann")
    assert first is not None
    subject.extend(first.slot, list(range(10)))
    subject.release(first.slot)
    second = subject.take([0, 1, 99], "ann")
    assert second is not None
    assert (second.source, second.keep) == (first.slot, 2)
    assert subject.reusable(list(range(11)), "ann") == 10


def test_without_sharing_nothing_is_kept() -> None:
    subject = Slots(2, 100, NOTHING, share=False)
    first = subject.take([1, 2, 3], "ann")
    assert first is not None
    subject.extend(first.slot, [1, 2, 3])
    assert subject.release(first.slot) == [Dropped(first.slot, "ann", [1, 2, 3], park=False)]
    assert subject.free_cells == 100
    assert subject.reusable([1, 2, 3], "ann") == 0


def test_clear_frees_every_sequence() -> None:
    subject = Slots(2, 100, NOTHING)
    for owner in ("ann", "bob"):
        placement = subject.take([1, 2], owner)
        assert placement is not None
        subject.extend(placement.slot, [1, 2])
    assert subject.take([1], "ann") is None
    subject.clear()
    assert subject.free_cells == 100
    assert subject.take([1, 2], "ann") == Placement(0, 0)


def test_the_lowest_free_sequence_is_taken_first() -> None:
    subject = Slots(4, 400, NOTHING, split=True)
    taken = [subject.take([n], "ann") for n in range(4)]
    assert [placement.slot for placement in taken if placement] == [0, 1, 2, 3]
    for slot in (2, 1):
        subject.release(slot)
    again = [subject.take([9], "ann"), subject.take([8], "ann")]
    assert [placement.slot for placement in again if placement] == [1, 2]


def test_what_is_idle_and_resident_is_one_prefix_at_most() -> None:
    subject = Slots(6, 1000, NOTHING)
    taken = [subject.take([n] * 50, "ann") for n in range(6)]
    for number, placement in enumerate(taken):
        assert placement is not None
        subject.extend(placement.slot, [number] * 50)
    for placement in taken:
        assert placement is not None
        subject.release(placement.slot)
        assert subject.idle_cells <= 50
