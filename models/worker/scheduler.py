"""What the next step decodes. Pure policy: plain data in, decisions out, no model, no clock."""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from models.worker.limits import SCORED_ROWS
from models.worker.pace import Budget
from models.worker.prefix import common_prefix
from models.worker.slots import Dropped, Placement, Slots
from models.worker.waiting import Sequence, Service, Waiting

__all__ = ["Piece", "Placed", "Preempted", "Scheduler", "Sequence"]

# A new request waits for a running prefill that will save it at least this many tokens.
WORTH_WAITING = 32
# From so many tokens a step on, llama.cpp's attention on a processor works in tiles: at the end of
# a long prompt a token then costs less than half.
WHOLE_TILE = 64
# From so many tokens to decode on, a prompt is read apart: it would pass over the cells of all
# others, and be in their way. A turn of one is so long where several are.
LEAST_APART = 256
TURN_APART = 1024
# So often batch work is passed over, then it has a turn: of admissions, and of prompt pieces.
FLEX_TURN = 8


@dataclass(frozen=True)
class Piece:
    """Decode `tokens` of a sequence at position `start`; logits of the last `logits`."""

    sequence: Sequence
    start: int
    tokens: list[int]
    logits: int


@dataclass(frozen=True)
class Placed:
    """A sequence that runs from now on, and what to do to the cache before it is decoded."""

    sequence: Sequence
    placement: Placement


@dataclass(frozen=True)
class Preempted:
    """A sequence that gave its cells back; it waits and its work is recomputed."""

    sequence: Sequence
    dropped: tuple[Dropped, ...]


@dataclass
class Scheduler:
    """Waiting and running sequences over the slots of one KV cache.

    Normal work goes before flex, which also gives its slot and cells up for it; but whenever flex
    has been passed over or preempted FLEX_TURN times, the next admission is flex's, and that
    request counts as normal from then on: so it will be done. Between owners the one who was
    served least goes first. Within an owner's tier the order is by arrival: a request may be
    overtaken only while it waits for another's prefill of the prompt they share.

    Of several that run, prompts of which LEAST_APART tokens are to be decoded, and `apart` at most
    known, are not in the steps: other contexts read them, and what is made of them is brought into
    the cells that they are promised here.
    """

    slots: Slots
    parallel: int
    batch: int
    max_waiting: int
    apart: int = 0
    running: list[Sequence] = field(default_factory=list[Sequence])
    waiting: Waiting = field(default_factory=Waiting)
    _service: dict[bool, Service] = field(
        default_factory=lambda: {False: Service(), True: Service()}
    )  # a tier's
    _arrivals: int = 0
    _passed_over: int = 0  # since flex's last turn: normal ones before it, and its preemptions
    _unfed: int = 0  # steps in a row in which a running flex prompt got no piece
    _reading: list[Sequence] = field(default_factory=list[Sequence])  # whose prompts, apart
    _unread: int = 0  # pieces in a row of which a flex prompt that is to be read apart got none
    _changed: bool = True  # since it was last found that nobody can be admitted

    def submit(self, sequence: Sequence) -> bool:
        """Queue a request; False if the queue is full."""
        if self._full(sequence):
            return False
        self._arrivals += 1
        sequence.arrival = self._arrivals
        if sequence.owner not in self.waiting.owners(flex=sequence.flex):
            self._service[sequence.flex].enter(sequence.owner)
        self.waiting.add(sequence)
        self._changed = True
        return True

    def ahead(self, *, flex: bool) -> int:
        """How many waiting requests a new one of this tier would have before it, at least."""
        return self.waiting.count(flex=False) + (self.waiting.count(flex=True) if flex else 0)

    def remove(self, sequence: Sequence, *, keep: bool = True) -> list[Dropped]:
        """End a request wherever it is; returns cache sequences to empty."""
        self._changed = True
        self.waiting.remove(sequence)
        dropped: list[Dropped] = []
        if sequence in self.running:
            self.running.remove(sequence)
            slot, sequence.slot = sequence.slot, None
            assert slot is not None
            dropped = self.slots.release(slot, keep=keep)
        if not self.running and not self.waiting:
            for service in self._service.values():
                service.forget()
        return dropped

    def admit(self) -> Iterator[Placed | Preempted]:
        """Move waiting requests into free slots, where their whole known text would fit.

        Each event must be carried out before the next is asked for: that may share its cells.
        """
        if not self._changed:
            return
        self._changed = False
        while (sequence := self._next()) is not None:
            while not self._fits(sequence):
                victim = self._gives_way_to(sequence)
                if victim is None:
                    return
                yield self._preempt(victim)
            if sequence.alone:
                placement = self.slots.take_alone()
            else:
                # What is asked for logits is decoded, whoever decoded it before.
                reusable = sequence.tokens[: sequence.first_output + 1]
                placement = self.slots.take(reusable, sequence.scope)
            if placement is None:
                return
            self._place(sequence, placement)
            yield Placed(sequence, placement)

    def plan(self, budget: Budget) -> list[Piece]:
        """One step: every stream's next tokens, then pieces of prompts, each owner in turn."""
        self._set_apart()
        room = self.batch
        pieces: list[Piece] = []
        if self.running and self.running[0].alone:
            # The same batches each time, whatever was measured.
            self._add(pieces, self.running[0], min(self.running[0].pending, room))
            return pieces
        streams = [s for s in self.running if s.streaming]
        prompts = [s for s in self.running if not s.streaming and not s.unread]
        paced = burst = room
        if streams and prompts:
            paced, burst = budget.paced, budget.short
            crowd = len(prompts) / len(streams)
            if crowd > 1:  # more wait to begin than stream, and these bear longer pauses
                paced = int(max(paced, WHOLE_TILE) * crowd)
                burst = int(burst * crowd)
        for sequence in streams:
            room -= self._add(pieces, sequence, min(sequence.pending, room))
        for sequence in sorted(prompts, key=lambda s: self._turn_to_prefill(s, self._unfed)):
            if sequence.to_prefill <= budget.short:
                count = self._add(pieces, sequence, min(sequence.pending, burst, room))
                burst -= count
            else:
                count = self._add(pieces, sequence, min(sequence.pending, paced, room))
                paced -= count
            room -= count
        return pieces

    def to_read(self, count: int) -> list[Sequence]:
        """Whose prompts are to be read apart now, so many at once; each has a turn of its own."""
        self._set_apart()
        unread = [sequence for sequence in self.running if sequence.unread]
        normal = any(not each.flex for each in unread if each not in self._reading)
        staying = [
            each
            for each in self._reading
            if each in unread and each.turn > 0 and not (each.flex and normal)
        ]

        def place(each: Sequence) -> tuple[int, int, int]:
            return self._turn_to_prefill(each, self._unread)

        others = sorted((each for each in unread if each not in staying), key=place)
        self._reading = [*staying, *others][:count]
        for each in self._reading:
            if each not in staying:
                each.turn = TURN_APART
        return self._reading

    def read(self, sequence: Sequence, count: int) -> None:
        """So many more tokens of its prompt were read apart."""
        self._service[sequence.flex].charge(sequence.owner, count, generated=False)
        self._begin(sequence)
        sequence.read += count
        sequence.turn -= count
        unfed = any(each.flex and each.unread and each is not sequence for each in self.running)
        self._unread = self._unread + 1 if unfed and self._unread < FLEX_TURN else 0

    def read_no_more(self) -> None:
        """Nothing can be read apart: the steps take it all."""
        self.apart = 0
        for sequence in self.running:
            sequence.apart = False

    def bring(self, sequence: Sequence) -> None:
        """What was read apart is in the cells of its slot."""
        assert sequence.slot is not None
        self.slots.extend(sequence.slot, sequence.tokens[sequence.past : sequence.read])
        sequence.past = sequence.read
        self._changed = True  # somebody may wait for this prefill

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
        """One gives its cells back and waits again: of flex, else of all, the youngest.

        Never the last one, and so never the oldest of those that are not flex: it will be done.
        """
        if len(self.running) < 2:
            return None
        return self._preempt(max(self.running, key=lambda each: (each.flex, each.arrival)))

    def done(self, pieces: Seq[Piece]) -> None:
        """The step was decoded."""
        for piece in pieces:
            sequence, count = piece.sequence, len(piece.tokens)
            assert sequence.slot is not None
            generated = sequence.streaming
            self._service[sequence.flex].charge(sequence.owner, count, generated=generated)
            self.slots.extend(sequence.slot, piece.tokens)
            self._begin(sequence)
            sequence.past += count
            if not generated:
                self._changed = True  # somebody may wait for this prefill
        fed = {id(piece.sequence) for piece in pieces}
        unfed = any(
            each.flex and each.past < each.known and not each.unread and id(each) not in fed
            for each in self.running
        )
        self._unfed = self._unfed + 1 if unfed and self._unfed < FLEX_TURN else 0

    def restart(self, sequence: Sequence) -> None:
        """A prefix that was to be copied back is not there: all is decoded again, in the steps."""
        assert sequence.slot is not None
        self._changed = True
        self.slots.forget(sequence.slot)
        sequence.past = 0
        sequence.to_prefill = sequence.pending
        sequence.apart, sequence.apart_failed = False, True

    def _begin(self, sequence: Sequence) -> None:
        if not sequence.begun:
            sequence.cached, sequence.begun = sequence.past, True

    def _full(self, sequence: Sequence) -> bool:
        """Whether the queue takes no more of this tier.

        Waiting and running are counted together: a burst arrives before any of it runs, and cells
        may be short before sequences are. Flex work takes no place from normal work, and an owner
        of whom nothing is here is let in: there are only so many, and one must not shut them out.
        """
        running = sum(sequence.flex or not each.flex for each in self.running)
        if self.ahead(flex=sequence.flex) + running < self.max_waiting + self.parallel:
            return False
        owner = sequence.owner
        return self.waiting.has(owner) or any(each.owner == owner for each in self.running)

    def _next(self) -> Sequence | None:
        """Whose turn it is to be placed, if anybody's."""
        flex_first = self._passed_over >= FLEX_TURN
        for flex in (flex_first, not flex_first):
            for owner in self._owners_in_turn(flex):
                for sequence in self.waiting.of(owner, flex=flex):
                    if not self._waits_for_prefill(sequence):
                        return sequence
        return None

    def _owners_in_turn(self, flex: bool) -> list[str]:
        """Who waits in this tier; first who had least, what was promised to them included."""
        owners = self.waiting.owners(flex=flex)
        if len(owners) < 2:
            return owners
        running = Counter(each.owner for each in self.running)

        def turn(owner: str) -> tuple[int, int, int]:
            oldest = self.waiting.of(owner, flex=flex)[0]
            return self._had(owner, flex), running[owner], oldest.arrival

        return sorted(owners, key=turn)

    def _had(self, owner: str, flex: bool) -> int:
        """What an owner was served in a tier, and will be by what runs of them already."""
        promised = sum(s.pending for s in self.running if s.owner == owner and s.flex == flex)
        return self._service[flex].spent(owner) + promised

    def _fits(self, sequence: Sequence) -> bool:
        if any(each.alone or sequence.alone for each in self.running):
            return False
        return len(self.running) < self.parallel and self._missing_cells(sequence) <= 0

    def _missing_cells(self, sequence: Sequence) -> int:
        """Cells it lacks to be placed; idle prefixes give way, unwritten prompts count as taken."""
        if not self.running or self.slots.split:
            return 0
        promised = sum(s.pending for s in self.running)
        needed, room = self.slots.cells_needed(sequence.tokens, sequence.scope)
        return needed + promised + self.batch // 8 - room

    def _gives_way_to(self, sequence: Sequence) -> Sequence | None:
        """The youngest flex request that runs, if that can help this one."""
        flex = [each for each in self.running if each.flex]
        if sequence.flex or not flex:
            return None
        freed = sum(len(each.tokens) for each in flex)  # written, and promised to be
        others = len(self.running) - len(flex)
        if others and (sequence.alone or self._missing_cells(sequence) > freed):
            return None
        return max(flex, key=lambda each: each.arrival)

    def _preempt(self, sequence: Sequence) -> Preempted:
        dropped = self.remove(sequence, keep=False)
        sequence.past = 0
        self.waiting.add(sequence)
        self._passed_over += int(sequence.flex)
        return Preempted(sequence, tuple(dropped))

    def _place(self, sequence: Sequence, placement: Placement) -> None:
        self._service[sequence.flex].serve(self._had(sequence.owner, sequence.flex))
        self.waiting.remove(sequence)
        if sequence.flex and self._passed_over >= FLEX_TURN:
            sequence.flex, self._passed_over = False, 0
        elif sequence.flex and sequence.alone:
            sequence.flex = False  # interrupted, it would not be done in the same batches
        elif not sequence.flex and self.waiting.count(flex=True):
            self._passed_over += 1
        sequence.slot, sequence.past = placement.slot, placement.keep
        sequence.to_prefill, sequence.known = sequence.pending, len(sequence.tokens)
        sequence.apart = sequence.apart_failed = False
        self.running.append(sequence)

    def _set_apart(self) -> None:
        """Whoever is in others' way from now on; alone, a prompt goes in whole batches."""
        if not self.apart or len(self.running) < 2:
            return
        for each in self.running:
            left = min(each.pending, each.known - each.past)
            barred = each.apart or each.apart_failed or each.alone or each.scored
            if left >= LEAST_APART and each.known <= self.apart and not barred:
                each.apart, each.read = True, each.past

    def _turn_to_prefill(self, sequence: Sequence, unfed: int) -> tuple[int, int, int]:
        """Flex comes last, and on its turn first: what the tiers spent is not comparable."""
        rank = 1
        if sequence.flex:
            rank = 0 if unfed >= FLEX_TURN else 2
        spent = self._service[sequence.flex].spent(sequence.owner)
        return rank, spent, sequence.arrival

    def _add(self, pieces: list[Piece], sequence: Sequence, count: int) -> int:
        if count <= 0:
            return 0
        start = sequence.past
        if sequence.scored:
            scored = sum(piece.logits for piece in pieces if piece.sequence.scored)
            count = min(count, SCORED_ROWS - scored + max(0, sequence.first_output - start))
            if count <= 0:
                return 0
        tokens = sequence.tokens[start : start + count]
        logits = max(0, start + count - max(start, sequence.first_output))
        pieces.append(Piece(sequence, start, tokens, logits))
        return count

    def _waits_for_prefill(self, sequence: Sequence) -> bool:
        if not self.slots.share or sequence.alone:
            return False
        awaited = sequence.awaits
        if awaited is not None and awaited.slot is not None and awaited.past < sequence.awaited:
            return True
        sequence.awaits = None
        have: int | None = None
        for other in self.running:
            if other.scope != sequence.scope or other.past >= other.prompt_length:
                continue
            if other.flex and not sequence.flex:
                continue  # it may give way at any time
            beginning = sequence.tokens[:WORTH_WAITING]
            if other.tokens[: len(beginning)] != beginning:
                continue
            prompt = other.tokens[: other.prompt_length]
            common = min(common_prefix(prompt, sequence.tokens), len(sequence.tokens) - 1)
            # What is shared may already be in the cache although the rest of that prompt is not.
            if common <= other.past:
                continue
            if have is None:
                have = self.slots.reusable(sequence.tokens, sequence.scope)
            # What is read apart is there all at once, at the end: to wait is to take that long.
            left = other.known - other.read if other.unread else 0
            if common - have >= max(WORTH_WAITING, left // 2):
                sequence.awaits, sequence.awaited = other, common
                return True
        return False
