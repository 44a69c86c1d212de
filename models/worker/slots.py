"""Which sequence of the KV cache holds which tokens, and which cells are shared. Pure policy.

A model of llama.cpp's unified cache: a cell belongs to every sequence that refers to it, and is
free when none does. `llama_memory_seq_cp` shares cells, so a common prefix is held once.
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
    """A sequence to empty, and what it holds until then: it may be worth parking."""

    slot: int
    owner: str
    tokens: list[int]


@dataclass(frozen=True)
class Placement:
    """Do this to the cache before a sequence decodes in `slot`, in this order.

    The sequences in `drop` are emptied. Then the slot gets its first `keep` positions: shared from
    `source`; or of the parked prefix `restore`, copied back and cut; or its own, cut back.
    """

    slot: int
    keep: int
    drop: tuple[Dropped, ...] = ()
    source: int | None = None
    restore: Parked | None = None


@dataclass
class _Slot:
    owner: str = ""
    tokens: list[int] = field(default_factory=list[int])
    cells: list[int] = field(default_factory=list[int])
    busy: bool = False
    used_at: int = 0


class Slots:
    """`count` sequences over `cells` cells; those in use share their common prefixes.

    A sequence that ends leaves its cells, since attention spans idle ones too, and may be found
    again in `parked`. Only the last one too large for that stays, until its cells are wanted.
    Prefixes are shared within one owner only: whether a prompt was seen before, which timing
    shows, is nobody else's business. `share` False turns all reuse off.
    """

    def __init__(
        self, count: int, cells: int, parked: ParkedPrefixes, *, share: bool = True
    ) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._cells = cells
        self._parked = parked
        self.share = share
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

    def reusable(self, tokens: Sequence[int], owner: str) -> int:
        """How many of the first `tokens` a new sequence would not have to decode."""
        _, resident = self._best_prefix(tokens, owner)
        _, restored = self._worth_restoring(tokens, owner, resident)
        return max(resident, restored)

    def cells_needed(self, tokens: Sequence[int], owner: str) -> tuple[int, int]:
        """Cells a new sequence adds to those it shares, and how many there are for it.

        The latter counts all idle prefixes as free but the one that is shared.
        """
        source, keep = self._best_prefix(tokens, owner)
        reused: set[int] = set()
        if source is not None:
            reused.update(self._slots[source].cells[:keep])
        return len(tokens) - keep, self.free_cells + len(self._idle_set() - reused)

    def take(self, tokens: Sequence[int], owner: str) -> Placement | None:
        """Claim a sequence for these tokens; None if all are busy.

        The last token is never reused: its logits are wanted.
        """
        source, keep = self._best_prefix(tokens, owner)
        idle = [n for n, slot in enumerate(self._slots) if not slot.busy]
        if not idle:
            return None
        parked, restored = self._worth_restoring(tokens, owner, keep)
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
                self._share_cells(self._slots[source], self._slots[slot], keep)
            placement = Placement(slot, keep, drop, source)
        taken = self._slots[placement.slot]
        taken.owner, taken.busy = owner, True
        return placement

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
        if not keep or not self.share:
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

    def _best_prefix(self, tokens: Sequence[int], owner: str) -> tuple[int | None, int]:
        best, length = None, 0
        if self.share:
            for n, slot in enumerate(self._slots):
                if slot.owner == owner and slot.tokens:
                    shared = min(common_prefix(slot.tokens, tokens), len(tokens) - 1)
                    if shared > length:
                        best, length = n, shared
        return best, length

    def _worth_restoring(
        self, tokens: Sequence[int], owner: str, resident: int
    ) -> tuple[Parked | None, int]:
        """A parked prefix that saves enough over the `resident` tokens, and fits."""
        if not self.share:
            return None, 0
        parked, shared = self._parked.best(tokens, owner)
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
        """An empty one, else the one unused for longest."""
        return min(slots, key=lambda n: (bool(self._slots[n].tokens), self._slots[n].used_at))

    def _drop(self, slot: int) -> tuple[Dropped, ...]:
        """Empty a slot; nothing if it is empty."""
        held = self._slots[slot]
        if not held.tokens:
            return ()
        dropped = Dropped(slot, held.owner, list(held.tokens))
        self._truncate(held, 0)
        return (dropped,)

    def _share_cells(self, source: _Slot, target: _Slot, length: int) -> None:
        target.tokens, target.cells = source.tokens[:length], source.cells[:length]
        for cell in target.cells:
            self._references[cell] += 1

    def _truncate(self, slot: _Slot, length: int) -> None:
        for cell in slot.cells[length:]:
            self._references[cell] -= 1
            if not self._references[cell]:
                del self._references[cell]
        del slot.tokens[length:]
        del slot.cells[length:]
