"""The rows of one llama_decode, and llama.cpp's arrays that they are written to."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Batch", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Tokens of one sequence to decode at position `start`; logits of the last `logits` of them."""

    sequence: int
    start: int
    tokens: Sequence[int]
    logits: int


class Batch:
    """llama.cpp's batch arrays behind NumPy views: filling one costs microseconds, not a loop.

    `arrays` is a llama_batch of `size` tokens with one sequence id each.
    """

    def __init__(self, arrays: Any, size: int) -> None:
        self._batch = arrays
        shape = (size,)
        self._token = np.ctypeslib.as_array(self._batch.token, shape)
        self._position = np.ctypeslib.as_array(self._batch.pos, shape)
        self._logits = np.ctypeslib.as_array(
            ctypes.cast(self._batch.logits, ctypes.POINTER(ctypes.c_int8)), shape
        )
        np.ctypeslib.as_array(self._batch.n_seq_id, shape)[:] = 1
        # One sequence id a token: each pointer of seq_id is led to its place in one array.
        self._sequence = np.zeros(size, dtype=np.int32)
        base = self._sequence.ctypes.data
        pointers = ctypes.cast(self._batch.seq_id, ctypes.POINTER(ctypes.c_void_p))
        for at in range(size):
            pointers[at] = base + 4 * at

    def fill(self, rows: Sequence[Rows]) -> Any:
        """The llama_batch that holds these rows, of `size` tokens at most, until the next."""
        self._logits[:] = 0
        at = 0
        for row in rows:
            end = at + len(row.tokens)
            self._token[at:end] = row.tokens
            self._position[at:end] = range(row.start, row.start + len(row.tokens))
            self._sequence[at:end] = row.sequence
            self._logits[end - row.logits : end] = 1
            at = end
        self._batch.n_tokens = at
        return self._batch
