"""A context in which one prompt is read, a piece at a time, in a thread of its own."""

import time
from collections.abc import Sequence as Seq
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from models.worker.batch import Rows
from models.worker.llama_context import State
from models.worker.waiting import Sequence

__all__ = ["Context", "Piece", "Reader"]


class Context(Protocol):
    """What is needed of a `models.worker.llama_context.LlamaContext`."""

    def decode(self, rows: Seq[Rows]) -> int: ...
    def use_threads(self, count: int) -> None: ...
    def append(self, sequence: int, state: State, length: int) -> bool: ...
    def save(self, sequence: int, start: int = 0) -> State: ...
    def holds(self, sequence: int, length: int) -> bool: ...
    def cut(self, sequence: int, length: int) -> bool: ...
    def clear(self) -> None: ...


@dataclass
class Piece:
    """`count` tokens of a prompt from `start` on, being read by so many threads."""

    sequence: Sequence
    start: int
    count: int
    threads: int
    done: "Future[tuple[int, float]]"  # llama.cpp's status, and milliseconds


class Reader:
    """All but the decoding of a piece is done by the caller's thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._thread = ThreadPoolExecutor(1, "reader")
        self._length = 0  # tokens of `held` that the context holds
        self.held: Sequence | None = None  # whose prompt it is
        self.piece: Piece | None = None

    @property
    def threads(self) -> int:
        """Cores that it computes with now."""
        return 0 if self.piece is None or self.piece.done.done() else self.piece.threads

    def has(self, sequence: Sequence) -> bool:
        """Whether it holds what was read of this one, as far as that is."""
        held = self.held is sequence and self._length == sequence.read
        return held and sequence.slot is not None and sequence.apart

    def turn_to(self, sequence: Sequence, before: State | None) -> bool:
        """Hold a prompt's first `past` tokens, which are given; False: they find no place."""
        self._context.clear()
        sequence.read = sequence.past
        self.held = None
        if before is not None and not self._context.append(0, before, sequence.past):
            return False
        self.held, self._length = sequence, sequence.past
        return True

    def start(self, count: int, threads: int) -> None:
        """Have the next tokens read."""
        sequence = self.held
        assert sequence is not None
        assert self.piece is None
        tokens = sequence.tokens[sequence.read : sequence.read + count]
        self._context.use_threads(threads)
        rows = [Rows(0, sequence.read, tokens, 0)]
        done = self._thread.submit(_decode, self._context, rows)
        self.piece = Piece(sequence, sequence.read, count, threads, done)

    def collect(self) -> tuple[Piece, int, float] | None:
        """The piece that was under way, llama.cpp's status and milliseconds; None: not yet."""
        piece = self.piece
        if piece is None or not piece.done.done():
            return None
        self.piece = None
        status, elapsed_ms = piece.done.result()
        self._length = piece.start + piece.count
        if status != 0:
            self.held = None
        return piece, status, elapsed_ms

    def take(self, sequence: Sequence) -> State | None:
        """What was read of it; None: a sliding window has dropped some, or memory is short."""
        self.held = None
        try:
            # llama.cpp may give cells behind a window to others even where it need not.
            whole = self._context.holds(0, sequence.read)
            return self._context.save(0, sequence.past) if whole else None
        except MemoryError:
            return None


def _decode(context: Context, rows: Seq[Rows]) -> tuple[int, float]:
    began = time.perf_counter()
    status = context.decode(rows)
    return status, (time.perf_counter() - began) * 1000
