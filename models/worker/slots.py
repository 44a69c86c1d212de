"""Which sequence of the KV cache holds which tokens, and which cells are shared. Pure policy.

A model of llama.cpp's unified cache: a cell belongs to every sequence that refers to it, and is
free when none does. `llama_memory_seq_cp` shares cells, so a common prefix is held once. In a split
cache each sequence has cells of its own, and a common prefix is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.worker.parked import Parked, ParkedPrefixes
from models.worker.prefix import common_prefix

__all__ = ["Dropped", "Placement", "Slots"]

# What a parked prefix must save over what the cache still holds, to be copied back: tokens, and as
# a share of all that is copied.
WORTH_RESTORING = 16
RESTORED_SHARE = 1 / 16


@dataclass(frozen=True)
class Dropped:
    """A sequence to empty, and what it holds until then: worth parking, perhaps, if `park`."""

    slot: int
    scope: str
    tokens: list[int]
    park: bool = True


@dataclass(frozen=True)
class Placement:
    """Do this to the cache before a sequence decodes in `slot`, in this order.

    The sequences in `drop` are emptied. Then the slot gets its first `keep` positions: shared with
    (or copied from) `source`; or of the parked prefix `restore`, copied back and cut; or its own,
    cut back.
    """

    slot: int
    keep: int
    drop: tuple[Dropped, ...] = ()
    source: int | None = None
    restore: Parked | None = None


@dataclass
class _Slot:
    scope: str = ""
    tokens: list[int] = field(default_factory=list[int])
    cells: list[int] = field(default_factory=list[int])
    busy: bool = False
    private: bool = False  # nobody else may use what it holds, now or later
    used_at: int = 0


class Slots:
    """`count` sequences over `cells` cells in all; those in use share their common prefixes.

    A sequence that ends leaves its cells, since attention spans idle ones too, and may be found
    again in `parked`. Only the last one too large for that stays, until its cells are wanted. So
    what is resident and idle is bounded: one prefix.

    Prefixes are shared within one scope only: whether a prompt was seen before, which timing
    shows, is nobody else's business. `share` False turns all reuse off.

    In a `split` cache the cells are divided equally: a sequence that keeps to its part finds them
    free, whatever the others do. The lowest free sequence is taken first, since llama.cpp decodes
    neighbours together and others one after the other.
    """

    def __init__(
        self,
        count: int,
        cells: int,
        parked: ParkedPrefixes,
        *,
        share: bool = True,
        split: bool = False,
    ) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._cells = cells
        self._parked = parked
        self.share = share
        self.split = split
        self._references: dict[int, int] = {}
        self._next_cell = 0
        self._clock = 0

    @property
    def free_cells(self) -> int:
        """Cells no sequence refers to."""
        return self._cells - len(self._references)

    @property
    def idle_cells(self) -> int:
        """Cells that only idle prefixes refer to."""
        return len(self._idle_set())

    def reusable(self, tokens: Sequence[int], scope: str) -> int:
        """How many of the first `tokens` a new sequence would not have to decode."""
        _, resident = self._best_prefix(tokens, scope)
        _, restored = self._worth_restoring(tokens, scope, resident)
        return max(resident, restored)

    def cells_needed(self, tokens: Sequence[int], scope: str) -> tuple[int, int]:
        """Cells a new sequence adds to those it shares, and how many there are for it.

        The latter counts all idle prefixes as free but the one that is shared.
        """
        source, keep = self._best_prefix(tokens, scope)
        reused: set[int] = set()
        if source is not None:
            reused.update(self._slots[source].cells[:keep])
        return len(tokens) - keep, self.free_cells + len(self._idle_set() - reused)

    def take(self, tokens: Sequence[int], scope: str) -> Placement | None:
        """Claim a sequence for these tokens; None if all are busy.

        The last token is never reused: its logits are wanted.
        """
        source, keep = self._best_prefix(tokens, scope)
        idle = [n for n, slot in enumerate(self._slots) if not slot.busy]
        if not idle:
            return None
        parked, restored = self._worth_restoring(tokens, scope, keep)
        if parked is not None:
            placement = self._restore(idle, parked, restored)
        elif source in idle and (len(idle) == 1 or 2 * keep >= len(self._slots[source].tokens)):
            # Continue an idle prefix in place where little of it is lost by that.
            self._truncate(self._slots[source], keep)
            placement = Placement(source, keep)
        else:
            slot = self._least_used([n for n in idle if n != source])
            drop = self._drop(slot)
            if source is not None:
                self._share(source, slot, keep)
            placement = Placement(slot, keep, drop, source)
        taken = self._slots[placement.slot]
        taken.scope, taken.busy, taken.private = scope, True, False
        return placement

    def take_alone(self) -> Placement:
        """Claim the first sequence of a cache that is emptied for it; none may be busy."""
        assert not any(slot.busy for slot in self._slots)
        drop = tuple(each for n in range(len(self._slots)) for each in self._drop(n))
        self._slots[0].busy = self._slots[0].private = True
        return Placement(0, 0, drop)

    def forget(self, slot: int) -> None:
        """The slot holds nothing after all: its prefix could not be copied back."""
        self._truncate(self._slots[slot], 0)

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """These tokens were decoded at the end of the sequence."""
        target = self._slots[slot]
        cells = range(self._next_cell, self._next_cell + len(tokens))
        self._next_cell += len(tokens)
        target.tokens.extend(tokens)
        target.cells.extend(cells)
        self._references.update((cell, 1) for cell in cells)

    def release(self, slot: int, *, keep: bool = True) -> list[Dropped]:
        """End a sequence; returns the sequences to empty, itself too unless it stays."""
        ended = self._slots[slot]
        ended.busy = False
        self._clock += 1
        ended.used_at = self._clock
        if not keep or not self.share or ended.private:
            return list(self._drop(slot))
        idle = [n for n, held in enumerate(self._slots) if not held.busy and held.tokens]
        too_long = [n for n in idle if not self._parked.fits(len(self._slots[n].tokens))]
        stays = max(too_long, key=lambda n: self._slots[n].used_at, default=None)
        return [each for n in idle if n != stays for each in self._drop(n)]

    def drop_oldest_idle(self) -> tuple[Dropped, ...]:
        """Forget the idle prefix unused for longest: the sequence to empty, or none."""
        idle = [n for n, slot in enumerate(self._slots) if not slot.busy and slot.tokens]
        return self._drop(self._least_used(idle)) if idle else ()

    def clear(self) -> None:
        """Forget everything; every sequence is free."""
        for slot in self._slots:
            self._truncate(slot, 0)
            slot.busy = False

    def _idle_set(self) -> set[int]:
        busy: set[int] = set()
        idle: set[int] = set()
        for slot in self._slots:
            (busy if slot.busy else idle).update(slot.cells)
        return idle - busy

    def _best_prefix(self, tokens: Sequence[int], scope: str) -> tuple[int | None, int]:
        best, length = None, 0
        if self.share:
            for n, slot in enumerate(self._slots):
                if slot.scope == scope and not slot.private and slot.tokens:
                    shared = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)
                    if shared > length:
                        best, length = n, shared
        return best, length

    def _worth_restoring(
        self, tokens: Sequence[int], scope: str, resident: int
    ) -> tuple[Parked | None, int]:
        """A parked prefix that saves enough over the `resident` tokens, and fits."""
        if not self.share:
            return None, 0
        parked, shared = self._parked.best(tokens, scope)
        shared = min(shared, len(tokens) - 1)
        if (
            parked is None
            or shared - resident < max(WORTH_RESTORING, RESTORED_SHARE * len(parked.tokens))
            or len(parked.tokens) > self.free_cells + self.idle_cells
        ):
            return None, 0
        return parked, shared

    def _restore(self, idle: list[int], parked: Parked, keep: int) -> Placement:
        slot = self._least_used(idle)
        drop = self._drop(slot)
        while self.free_cells < len(parked.tokens):
            drop += self.drop_oldest_idle()
        self._parked.touch(parked)
        self.extend(slot, parked.tokens[:keep])
        return Placement(slot, keep, drop, restore=parked)

    def _least_used(self, slots: Sequence[int]) -> int:
        """The first empty one, else the one unused for longest."""
        return min(slots, key=lambda n: (self._slots[n].used_at if self._slots[n].tokens else 0, n))

    def _drop(self, slot: int) -> tuple[Dropped, ...]:
        """Empty a slot; nothing if it is empty."""
        held = self._slots[slot]
        if not held.tokens:
            return ()
        park = self.share and not held.private
        dropped = Dropped(slot, held.scope, list(held.tokens), park)
        self._truncate(held, 0)
        return (dropped,)

    def _share(self, source: int, target: int, length: int) -> None:
        held, into = self._slots[source], self._slots[target]
        if self.split:
            self.extend(target, held.tokens[:length])
            return
        into.tokens, into.cells = held.tokens[:length], held.cells[:length]
        for cell in into.cells:
            self._references[cell] += 1

    def _truncate(self, slot: _Slot, length: int) -> None:
        for cell in slot.cells[length:]:
            self._references[cell] -= 1
            if not self._references[cell]:
                del self._references[cell]
        del slot.tokens[length:]
        del slot.cells[length:]
