"""What the next step decodes. Pure policy: plain data in, decisions out, no model, no clock."""

from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from models.worker.prefix import common_prefix
from models.worker.slots import Dropped, Placement, Slots

__all__ = ["Budget", "Pace", "Piece", "Preempted", "Scheduler", "Sequence"]

# A new request waits for a running prefill that will save it at least this many tokens.
WORTH_WAITING = 32


@dataclass
class Sequence:
    """One request: its tokens so far, and how many of them the KV cache holds."""

    id: int
    owner: str
    tokens: list[int]
    prompt_length: int
    cached: int = 0  # tokens of the prompt that were there when its first one was decoded
    to_prefill: int = 0  # tokens not found there when last placed
    past: int = 0
    slot: int | None = None
    begun: bool = False
    awaits: "Sequence | None" = None  # whose prefill of `awaited` tokens will be shared
    awaited: int = 0
    scope: str = ""  # who shares its prefixes: its owner, unless another is given
    alone: bool = False  # nothing else runs beside it, and no prefix of others is used

    def __post_init__(self) -> None:
        self.scope = self.scope or self.owner

    @property
    def pending(self) -> int:
        """Tokens known but not decoded yet."""
        return len(self.tokens) - self.past

    @property
    def streaming(self) -> bool:
        """Past its prompt: somebody watches its tokens come."""
        return len(self.tokens) > self.prompt_length and self.past >= self.prompt_length


@dataclass(frozen=True)
class Piece:
    """Decode `tokens` of a sequence at position `start`; `logits` of the last one if wanted."""

    sequence: Sequence
    start: int
    tokens: list[int]
    logits: bool


@dataclass(frozen=True)
class Preempted:
    """A sequence that gave its cells back; it waits and its work is recomputed."""

    sequence: Sequence
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class Budget:
    """Prompt tokens that may join a step in which others stream."""

    paced: int  # of long prompts together
    short: int  # a prompt of at most so many is prefilled whole


@dataclass
class Pace:
    """How many prompt tokens fit beside running streams, from the measured cost of steps.

    Pieces of a long prompt slow each of many steps, so they are small: such a step takes `slowdown`
    times longer than one without, at most. A short prompt interrupts the streams once, and is
    cheapest in one piece.
    """

    slowdown: float = 2.5
    smallest: int = 8  # keeps a prefill going on any machine
    short_ms: float = 250.0
    token_ms: float = 0.0  # of a prompt token
    step_ms: float = 0.0  # of a step without prompt tokens

    def observe(self, tokens: int, prefill_tokens: int, milliseconds: float) -> None:
        """A step of `tokens`, of which `prefill_tokens` were of prompts, took that long."""
        if prefill_tokens == 0:
            self.step_ms = _blend(self.step_ms, milliseconds)
        elif prefill_tokens * 2 >= tokens:
            self.token_ms = _blend(self.token_ms, milliseconds / tokens)

    def budget(self, largest: int) -> Budget:
        """Of a step that holds `largest` tokens."""
        return Budget(
            self._tokens(self.slowdown * self.step_ms, largest),
            self._tokens(self.short_ms, largest),
        )

    def _tokens(self, milliseconds: float, largest: int) -> int:
        fit = int(min(milliseconds / self.token_ms, largest)) if self.token_ms > 0 else 0
        return max(fit, min(self.smallest, largest))


@dataclass
class Scheduler:
    """Waiting and running sequences over the slots of one KV cache.

    Order is by arrival. A waiting request may be overtaken only while it waits for another's
    prefill of the prompt they share.
    """

    slots: Slots
    parallel: int
    batch: int
    max_waiting: int
    running: list[Sequence] = field(default_factory=list[Sequence])
    waiting: deque[Sequence] = field(default_factory=deque[Sequence])

    def submit(self, sequence: Sequence) -> bool:
        """Queue a request; False if the queue is full."""
        # Counted together: a burst arrives before any of it runs, and cells may be short before
        # sequences are.
        if len(self.waiting) + len(self.running) >= self.max_waiting + self.parallel:
            return False
        self.waiting.append(sequence)
        return True

    def remove(self, sequence: Sequence, *, keep: bool = True) -> list[Dropped]:
        """End a request wherever it is; returns cache sequences to empty."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        if sequence not in self.running:
            return []
        self.running.remove(sequence)
        slot, sequence.slot = sequence.slot, None
        assert slot is not None
        return self.slots.release(slot, keep=keep)

    def admit(self) -> Iterator[tuple[Sequence, Placement]]:
        """Move waiting requests into free slots, where their whole known text would fit.

        Each placement must be carried out before the next is asked for: that may share its cells.
        """
        for sequence in list(self.waiting):
            if any(other.alone or sequence.alone for other in self.running):
                break  # nobody overtakes it either: its turn comes
            if len(self.running) >= self.parallel or not self._room_for(sequence):
                break
            if self._waits_for_prefill(sequence):
                continue
            if sequence.alone:
                placement = self.slots.take_alone()
            else:
                placement = self.slots.take(sequence.tokens, sequence.scope)
            if placement is None:
                break
            self.waiting.remove(sequence)
            sequence.slot, sequence.past = placement.slot, placement.keep
            sequence.to_prefill = sequence.pending
            self.running.append(sequence)
            yield sequence, placement

    def plan(self, budget: Budget) -> list[Piece]:
        """One step: every stream's next tokens, then pieces of prompts, oldest first."""
        room = self.batch
        pieces: list[Piece] = []
        if self.running and self.running[0].alone:
            # The same batches each time, whatever was measured.
            self._add(pieces, self.running[0], min(self.running[0].pending, room))
            return pieces
        streams = [s for s in self.running if s.streaming]
        for sequence in streams:
            room -= self._add(pieces, sequence, min(sequence.pending, room))
        prompts = [s for s in self.running if not s.streaming]
        paced = burst = room
        if streams:
            # Where more wait to begin than stream, these bear a longer pause, once.
            short = sum(s.to_prefill <= budget.short for s in prompts)
            paced = budget.paced
            burst = int(budget.short * max(1.0, short / len(streams)))
        for sequence in prompts:
            if sequence.to_prefill <= budget.short:
                count = self._add(pieces, sequence, min(sequence.pending, burst, room))
                burst -= count
            else:
                count = self._add(pieces, sequence, min(sequence.pending, paced, room))
                paced -= count
            room -= count
        return pieces

    def shortage(self, pieces: Seq[Piece]) -> int:
        """Cells that the step needs and the cache has not free."""
        return max(0, sum(len(piece.tokens) for piece in pieces) - self.slots.free_cells)

    def make_room(self, cells: int) -> list[Dropped]:
        """Forget idle prefixes until `cells` are free, or none is left; what to empty."""
        dropped: list[Dropped] = []
        while self.slots.free_cells < cells:
            oldest = self.slots.drop_oldest_idle()
            if not oldest:
                break
            dropped += oldest
        return dropped

    def preempt(self) -> Preempted | None:
        """The youngest gives its cells back and waits again, by its arrival; never the last."""
        if len(self.running) < 2:
            return None
        youngest = max(self.running, key=lambda sequence: sequence.id)
        dropped = self.remove(youngest, keep=False)
        youngest.past = 0
        # Not simply first: one that came before it may wait there for a prefill.
        earlier = sum(waiting.id < youngest.id for waiting in self.waiting)
        self.waiting.insert(earlier, youngest)
        return Preempted(youngest, tuple(dropped))

    def done(self, pieces: Seq[Piece]) -> None:
        """The step was decoded."""
        for piece in pieces:
            slot = piece.sequence.slot
            assert slot is not None
            self.slots.extend(slot, piece.tokens)
            if not piece.sequence.begun:
                piece.sequence.cached, piece.sequence.begun = piece.start, True
            piece.sequence.past += len(piece.tokens)

    def _add(self, pieces: list[Piece], sequence: Sequence, count: int) -> int:
        if count <= 0:
            return 0
        start = sequence.past
        tokens = sequence.tokens[start : start + count]
        logits = start + count == len(sequence.tokens)
        pieces.append(Piece(sequence, start, tokens, logits))
        return count

    def restart(self, sequence: Sequence) -> None:
        """A prefix that was to be copied back is not there: all is decoded again."""
        assert sequence.slot is not None
        self.slots.forget(sequence.slot)
        sequence.past = 0
        sequence.to_prefill = sequence.pending

    def _room_for(self, sequence: Sequence) -> bool:
        """Idle prefixes give way; running sequences' unwritten prompts count as taken."""
        if not self.running or self.slots.split:
            return True
        promised = sum(s.pending for s in self.running)
        needed, room = self.slots.cells_needed(sequence.tokens, sequence.scope)
        return needed + promised + self.batch // 8 <= room

    def _waits_for_prefill(self, sequence: Sequence) -> bool:
        if not self.slots.share:
            return False
        awaited = sequence.awaits
        if awaited is not None and awaited.slot is not None and awaited.past < sequence.awaited:
            return True
        sequence.awaits = None
        have: int | None = None
        for other in self.running:
            if other.scope != sequence.scope or other.past >= other.prompt_length:
                continue
            prompt = other.tokens[: other.prompt_length]
            common = min(common_prefix(prompt, sequence.tokens), len(sequence.tokens) - 1)
            # What is shared may already be in the cache although the rest of that prompt is not.
            if common <= other.past:
                continue
            if have is None:
                have = self.slots.reusable(sequence.tokens, sequence.scope)
            if common - have >= WORTH_WAITING:
                sequence.awaits, sequence.awaited = other, common
                return True
        return False


def _blend(old: float, new: float) -> float:
    return new if old <= 0 else 0.8 * old + 0.2 * new
