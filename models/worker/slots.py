"""Which sequence of the KV cache holds which tokens, and which cells are shared. Pure policy.

A model of llama.cpp's unified cache: a cell belongs to every sequence that refers to it, and is
free when none does. `llama_memory_seq_cp` shares cells, so a common prefix is held once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Placement", "Slots", "common_prefix"]


@dataclass(frozen=True)
class Placement:
    """Do this to the cache before a sequence decodes in `slot`, in this order.

    Sequences in `clear` are emptied; then the first `keep` positions of `source` are shared with
    `slot`, or, with no source, the slot is cut back to its own first `keep`.
    """

    slot: int
    keep: int
    source: int | None
    clear: tuple[int, ...]


@dataclass
class _Slot:
    owner: str = ""
    tokens: list[int] = field(default_factory=list[int])
    cells: list[int] = field(default_factory=list[int])
    busy: bool = False
    used_at: int = 0


class Slots:
    """`count` sequences over `cells` cells; idle ones keep prefixes in at most `idle_limit` cells.

    Prefixes are shared within one owner only: whether a prompt was seen before, which timing
    shows, is nobody else's business. `share` False turns all reuse off.
    """

    def __init__(self, count: int, cells: int, idle_limit: int, *, share: bool = True) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._cells = cells
        self._idle_limit = idle_limit
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
        return self._best_prefix(tokens, owner)[1]

    def room_for(self, tokens: Sequence[int], owner: str) -> int:
        """Cells a new sequence could add to what it reuses, if every other idle prefix gave way."""
        source, keep = self._best_prefix(tokens, owner)
        reused: set[int] = set()
        if source is not None:
            reused.update(self._slots[source].cells[:keep])
        return self.free_cells + len(self._idle_set() - reused)

    def take(self, tokens: Sequence[int], owner: str) -> Placement | None:
        """Claim a sequence for these tokens; None if all are busy.

        The last token is never reused: its logits are wanted.
        """
        source, keep = self._best_prefix(tokens, owner)
        idle = [n for n, slot in enumerate(self._slots) if not slot.busy]
        if not idle:
            return None
        if source in idle and (len(idle) == 1 or 2 * keep >= len(self._slots[source].tokens)):
            # Continue an idle prefix in place where little of it is lost by that.
            slot, source, clear = source, None, ()
            self._truncate(self._slots[slot], keep)
        else:
            others = [n for n in idle if n != source]
            slot = min(others, key=lambda n: (bool(self._slots[n].tokens), self._slots[n].used_at))
            clear = (slot,)
            self._truncate(self._slots[slot], 0)
            if source is not None:
                self._share_cells(self._slots[source], self._slots[slot], keep)
        self._slots[slot].owner, self._slots[slot].busy = owner, True
        return Placement(slot=slot, keep=keep, source=source, clear=clear)

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """These tokens were decoded at the end of the sequence."""
        target = self._slots[slot]
        cells = range(self._next_cell, self._next_cell + len(tokens))
        self._next_cell += len(tokens)
        target.tokens.extend(tokens)
        target.cells.extend(cells)
        self._references.update((cell, 1) for cell in cells)

    def release(self, slot: int, *, keep: bool = True) -> list[int]:
        """End a sequence; returns the sequences to empty (itself too, unless kept as a prefix)."""
        ended = self._slots[slot]
        ended.busy = False
        self._clock += 1
        ended.used_at = self._clock
        if not keep or not self.share:
            self._truncate(ended, 0)
            return [slot]
        emptied: list[int] = []
        while self.idle_cells > self._idle_limit:
            oldest = self.drop_oldest_idle()
            assert oldest is not None
            emptied.append(oldest)
        return emptied

    def drop_oldest_idle(self) -> int | None:
        """Forget the idle prefix unused for longest; the sequence to empty, or None."""
        idle = [n for n, slot in enumerate(self._slots) if not slot.busy and slot.tokens]
        if not idle:
            return None
        oldest = min(idle, key=lambda n: self._slots[n].used_at)
        self._truncate(self._slots[oldest], 0)
        return oldest

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


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix; whole slices are compared, so this is fast in C."""
    low, high = 0, min(len(a), len(b))
    a, b = list(a[:high]), list(b[:high])
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
