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

    def __init__(self) -> None:
        super().__init__()
        self.parked = ParkedPrefixes(BUDGET)
        self.parked.learn(LONGEST, BUDGET)
        self.slots = Slots(COUNT, CELLS, self.parked)
        self.owner: dict[int, str] = {}
        self.cache = ReferenceCache(CELLS, lambda sequence: self.owner[sequence])
        self.busy: dict[int, list[int]] = {}

    def drop(self, dropped: Iterable[Dropped]) -> None:
        for each in dropped:
            assert each.slot not in self.busy
            assert each.tokens == self.cache.tokens(each.slot)
            assert each.owner == self.owner[each.slot]
            if self.parked.wants(each.tokens, each.owner):
                self.parked.add(each.tokens, each.owner, tuple(each.tokens))
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
                if owners_before.get(slot) == owner
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
            self.cache.share(placement.source, placement.slot, placement.keep)
        elif placement.restore is not None:
            assert placement.restore.owner == owner
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
            assert self.slots.free_cells + self.slots.idle_cells == room

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), tokens=tokens_of)
    def extend(self, data: st.DataObject, tokens: list[int]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.busy)))
        tokens = tokens[: self.slots.free_cells]
        self.cache.append(slot, len(self.busy[slot]), tokens)
        self.slots.extend(slot, tokens)
        self.busy[slot] = self.busy[slot] + tokens

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), keep=st.booleans())
    def release(self, data: st.DataObject, keep: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.busy)))
        del self.busy[slot]
        self.drop(self.slots.release(slot, keep=keep))
        assert keep or not self.cache.tokens(slot)
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
        assert self.slots.free_cells == CELLS - len(self.cache.cells)
        idle = [cell for cell in self.cache.cells if not cell.sequences & set(self.busy)]
        assert self.slots.idle_cells == len(idle)
        for slot, held in self.busy.items():
            assert self.cache.tokens(slot) == held


TestSlotsAgainstCache = SlotsAgainstCache.TestCase


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
    assert subject.release(first.slot) == [Dropped(first.slot, "ann", [1, 2, 3])]
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
