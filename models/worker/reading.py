"""Long prompts are read beside the steps of the others, in contexts of their own.

In the steps a long prompt is in the way of all streams, and they in its: llama.cpp passes over
their cells and masks them. Here it has a cache to itself, and what is made of it is copied to where
it is wanted: milliseconds, where reading takes seconds. And two that compute with half of the cores
each wait less for one another than the threads of one.
"""

import sys
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_for
from typing import Protocol

from models.worker.cores import CoreLock
from models.worker.llama_context import BATCH
from models.worker.pace import Budget, Pace
from models.worker.parked import ParkedPrefixes
from models.worker.reader import Context, Reader
from models.worker.scheduler import LEAST_APART, Scheduler, Sequence

__all__ = ["Reading"]

CELLS = 256  # llama.cpp rounds a cache to so many
ENOUGH = 4096  # tokens of a prompt: sooner one reader for longer ones than two for shorter
SHARE = 0.5  # of what finished prompts may take


class Model(Context, Protocol):
    """What is needed of a `models.worker.llama.Llama`."""

    @property
    def context(self) -> int: ...
    @property
    def reads_apart(self) -> bool: ...
    @property
    def batch_bytes(self) -> int: ...
    def another(self, cells: int) -> Context | None: ...


class Reading:
    """The readers; the scheduler says whose prompts.

    Their contexts are made when they are first needed, out of what `parked` may take. While a piece
    is under way it holds `cores`.
    """

    def __init__(
        self,
        model: Model,
        scheduler: Scheduler,
        parked: ParkedPrefixes,
        cores: CoreLock,
        threads: int,
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._parked = parked
        self._cores = cores
        self._all = threads
        self._token_bytes = 0.0
        self._most = 0  # readers
        self._readers: list[Reader] = []

    def learn(self, token_bytes: float) -> None:
        """What a token takes of a cache. From now on the scheduler has prompts read apart."""
        if not self._model.reads_apart:
            return
        self._token_bytes = token_bytes
        context = self._model.context
        self._most = 2 if self._affordable(2) >= min(context, ENOUGH) else 1
        cells = min(context, self._affordable(self._most) // CELLS * CELLS)
        self._scheduler.apart = cells if cells >= LEAST_APART else 0

    @property
    def threads(self) -> int:
        """Cores that compute for it now."""
        return sum(reader.threads for reader in self._readers)

    @property
    def under_way(self) -> bool:
        """Whether a piece is being read, or has been and is to be collected."""
        return any(reader.piece is not None for reader in self._readers)

    def collect(self, pace: Pace) -> None:
        """Enter what has been read since the last time."""
        for reader in self._readers:
            found = reader.collect()
            if found is None:
                continue
            self._cores.release()
            piece, status, elapsed_ms = found
            sequence = piece.sequence
            if status != 0:
                sequence.apart, sequence.apart_failed = False, True  # the steps decode it
            elif sequence.slot is not None and sequence.read == piece.start:
                self._scheduler.read(sequence, piece.count)
            if piece.threads == self._all:
                pace.observe(piece.count, piece.count, elapsed_ms)

    def to_bring(self) -> Sequence | None:
        """Whose prompt has been read to its end, or in part, when it is another's turn."""
        turns = self._scheduler.to_read(self._most)
        for reader in self._readers:
            sequence = reader.held
            if sequence is not None and reader.piece is None and reader.has(sequence):
                ended = sequence.read == sequence.known - 1
                if ended or (sequence.read > sequence.past and sequence not in turns):
                    return sequence
        return None

    def bring(self, sequence: Sequence) -> None:
        """Copy what was read into the cells of the sequence's slot, which must be free."""
        reader = next(reader for reader in self._readers if reader.held is sequence)
        assert sequence.slot is not None
        state = reader.take(sequence)
        if state is not None and self._model.append(sequence.slot, state, sequence.read):
            self._scheduler.bring(sequence)
        else:
            self._model.cut(sequence.slot, 0)
            self._scheduler.restart(sequence)

    def start(self, budget: Budget, *, beside: bool) -> None:
        """Have the next pieces read; half of the cores are for what is beside.

        What has a reader stays with it, and waits there while there are no cores. Of two pieces one
        would always be under way: none is begun beside another while somebody waits for the cores.
        """
        if self.under_way and self._cores.wanted:
            return
        # All cores together are faster with larger pieces, and nobody streams who would wait.
        largest = budget.short if beside else 2 * budget.short
        turns = self._scheduler.to_read(self._most)
        under_way = [reader.piece.sequence for reader in self._readers if reader.piece is not None]
        waiting = [sequence for sequence in turns if sequence not in under_way]
        free = self._all - self.threads - (self._all // 2 if beside else 0)
        while waiting and free > 0:
            threads = max(free // len(waiting), 1)
            sequence = waiting.pop(0)
            reader = self._turned_to(sequence, turns)
            if reader is not None:
                count = min(sequence.known - 1 - sequence.read, largest, BATCH)
                self._cores.acquire()
                reader.start(count, threads)
                free -= threads

    def wait(self, seconds: float | None = None) -> None:
        """Until a piece is read, but no longer than that."""
        pieces = [reader.piece.done for reader in self._readers if reader.piece is not None]
        wait_for([piece for piece in pieces if not piece.done()], seconds, FIRST_COMPLETED)

    def _affordable(self, readers: int) -> int:
        """Cells that each of so many may have."""
        room = self._parked.budget * SHARE / readers - self._model.batch_bytes
        return int(room / self._token_bytes)

    def _turned_to(self, sequence: Sequence, turns: list[Sequence]) -> Reader | None:
        """A reader that holds what is known of its beginning, if there can be one."""
        for reader in self._readers:
            if reader.has(sequence):
                return reader
        idle = [r for r in self._readers if r.piece is None and r.held not in turns]
        reader = idle[0] if idle else self._another()
        if reader is None:
            return None
        assert sequence.slot is not None
        try:
            before = self._model.save(sequence.slot) if sequence.past else None
            if reader.turn_to(sequence, before):
                return reader
        except MemoryError:
            pass  # what cannot be copied is decoded where it is
        sequence.apart, sequence.apart_failed = False, True
        return None

    def _another(self) -> Reader | None:
        if len(self._readers) == self._most:
            return None
        cells = self._scheduler.apart
        context = self._model.another(cells)
        if context is None:
            sys.stderr.write(f"llama.cpp makes no other context of {cells} tokens.\n")
            self._most = len(self._readers)
            if not self._most:
                self._scheduler.read_no_more()
            return None
        self._parked.give(int(cells * self._token_bytes) + self._model.batch_bytes)
        self._readers.append(Reader(context))
        return self._readers[-1]
