from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.worker.slots import Placement, Slots, common_prefix
from tests.unit.models.reference_cache import ReferenceCache

COUNT, CELLS, IDLE = 5, 40, 14

tokens_of = st.lists(st.integers(0, 2), min_size=1, max_size=16)
owners = st.sampled_from(["ann", "bob"])


def place(cache: ReferenceCache, placement: Placement) -> None:
    """The order of work that `Placement` asks for."""
    for slot in placement.clear:
        cache.cut(slot, 0)
    if placement.source is not None:
        cache.share(placement.source, placement.slot, placement.keep)
    else:
        cache.cut(placement.slot, placement.keep)


class SlotsAgainstCache(RuleBasedStateMachine):
    """Random use of Slots, every decision applied to a cache that knows no better."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(COUNT, CELLS, IDLE)
        self.owner: dict[int, str] = {}
        self.cache = ReferenceCache(CELLS, lambda sequence: self.owner[sequence])
        self.busy: dict[int, list[int]] = {}

    @rule(tokens=tokens_of, owner=owners)
    def take(self, tokens: list[int], owner: str) -> None:
        before = {slot: self.cache.tokens(slot) for slot in range(COUNT)}
        owners_before = dict(self.owner)
        best = max(
            (
                min(common_prefix(before[slot], tokens), len(tokens) - 1)
                for slot in range(COUNT)
                if owners_before.get(slot) == owner
            ),
            default=0,
        )
        assert self.slots.reusable(tokens, owner) == best
        room = self.slots.room_for(tokens, owner)
        placement = self.slots.take(tokens, owner)
        if placement is None:
            assert len(self.busy) == COUNT
            return
        assert placement.slot not in self.busy
        assert not set(placement.clear) & set(self.busy)
        assert placement.keep == best < len(tokens)
        if best:
            origin = placement.slot if placement.source is None else placement.source
            assert owners_before[origin] == owner
        self.owner[placement.slot] = owner
        place(self.cache, placement)
        assert self.cache.tokens(placement.slot) == tokens[:best]
        for slot, held in self.busy.items():
            assert self.cache.tokens(slot) == held
        self.busy[placement.slot] = tokens[:best]
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
        for emptied in self.slots.release(slot, keep=keep):
            assert emptied not in self.busy
            self.cache.cut(emptied, 0)
        assert keep or not self.cache.tokens(slot)
        assert self.slots.idle_cells <= IDLE

    @rule()
    def drop_oldest_idle(self) -> None:
        emptied = self.slots.drop_oldest_idle()
        if emptied is None:
            assert self.slots.idle_cells == 0
        else:
            assert emptied not in self.busy
            self.cache.cut(emptied, 0)

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
    slots = Slots(2, 100, 100)
    first = slots.take([1, 2, 3, 4], "ann")
    assert first is not None
    slots.extend(first.slot, [1, 2, 3, 4])
    slots.release(first.slot)
    assert slots.take([1, 2, 3, 5], "ann") == Placement(first.slot, 3, None, ())


def test_a_long_idle_prefix_survives_a_request_that_shares_little_of_it() -> None:
    slots = Slots(2, 100, 100)
    first = slots.take(list(range(10)), "ann")
    assert first is not None
    slots.extend(first.slot, list(range(10)))
    slots.release(first.slot)
    second = slots.take([0, 1, 99], "ann")
    assert second is not None
    assert (second.source, second.keep) == (first.slot, 2)
    assert slots.reusable(list(range(11)), "ann") == 10


def test_without_sharing_nothing_is_kept() -> None:
    slots = Slots(2, 100, 100, share=False)
    first = slots.take([1, 2, 3], "ann")
    assert first is not None
    slots.extend(first.slot, [1, 2, 3])
    assert slots.release(first.slot) == [first.slot]
    assert slots.free_cells == 100
    assert slots.reusable([1, 2, 3], "ann") == 0


def test_clear_frees_every_sequence() -> None:
    slots = Slots(2, 100, 100)
    for owner in ("ann", "bob"):
        placement = slots.take([1, 2], owner)
        assert placement is not None
        slots.extend(placement.slot, [1, 2])
    assert slots.take([1], "ann") is None
    slots.clear()
    assert slots.free_cells == 100
    assert slots.take([1, 2], "ann") == Placement(0, 0, None, (0,))
