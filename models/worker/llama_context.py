"""One llama.cpp context over a KV cache: decode, share cells, cut, save and restore.

Sizes are checked here before llama.cpp sees them, because an assert over there ends the process.
"""

import ctypes
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.worker.batch import Batch, Rows
from models.worker.limits import SCORED_ROWS, check_rows, check_sequence

# llama_cpp's signatures are ctypes built at run time; to the type checker they are Any.
llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["BATCH", "Cache", "LlamaContext", "State", "open_context"]

BATCH = 512  # tokens of one llama_decode; also the physical batch
_BYTES = ctypes.POINTER(ctypes.c_uint8)


@dataclass(frozen=True)
class Cache:
    """How a context keeps its cells.

    In a unified cache any sequence may use any cell, and several the same one. In a `split` cache
    each has `cells / sequences` of its own.
    """

    cells: int
    sequences: int
    split: bool
    shared: bool  # prefixes are shared and cut back, so that a window must drop nothing
    window: int  # of the model's sliding-window layers; 0: it has none
    kv_type: int  # ggml's number

    @property
    def scratch(self) -> int:
        """One more sequence, that cells pass through on their way to and from host memory."""
        return int(self.shared and not self.split)

    @property
    def in_windows(self) -> bool:
        """Whether a sequence is saved a window at a time, see `LlamaContext.save`."""
        return self.shared and self.window > 0


@dataclass(frozen=True)
class State:
    """Cells of a sequence in host memory, opaque, in pieces of so many positions each."""

    pieces: tuple[NDArray[np.uint8], ...]
    span: int

    def __len__(self) -> int:
        return sum(piece.nbytes for piece in self.pieces)


def open_context(model: Any, cache: Cache, threads: int) -> Any:
    """A llama_context that makes logits, or nothing where llama.cpp refuses; its log says why."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = cache.cells
    params.n_batch = params.n_ubatch = BATCH
    params.n_seq_max = cache.sequences + cache.scratch
    # The buffer of logits is made for as many rows: one a sequence, and those of given tokens.
    params.n_outputs_max = params.n_seq_max + SCORED_ROWS
    params.n_threads = params.n_threads_batch = threads
    params.kv_unified = not cache.split
    # A window that drops cells cannot be shared or cut back truthfully; keep them all.
    params.swa_full = cache.shared
    # Quantised values need flash attention; "auto", the default, refuses where there is none.
    params.type_k = params.type_v = cache.kv_type
    params.no_perf = True
    return llama_cpp.llama_init_from_model(model, params)


class LlamaContext:
    """A llama_context, its cache, and the batch that it decodes."""

    def __init__(self, context: Any, cache: Cache, *, vocabulary: int, batch: int = BATCH) -> None:
        self._context = context
        self._cache = cache
        self._vocabulary = vocabulary
        self._batch_tokens = batch
        self._memory = llama_cpp.llama_get_memory(context)
        self._batch = Batch(llama_cpp.llama_batch_init(batch, 0, 1), batch)
        self._outputs = 0  # rows of logits that the last batch made

    def use_threads(self, count: int) -> None:
        """Compute with so many from now on."""
        llama_cpp.llama_set_n_threads(self._context, count, count)

    def decode(self, rows: Sequence[Rows]) -> int:
        """Run one batch. 0 done, 1 no room in the KV cache (nothing changed), else failed.

        Raises ValueError for what llama.cpp would end the process for.
        """
        check_rows(
            rows, batch=self._batch_tokens, sequences=self._cache.sequences, cells=self._cache.cells
        )
        status = int(llama_cpp.llama_decode(self._context, self._batch.fill(rows)))
        self._outputs = sum(row.logits for row in rows) if status == 0 else 0
        return status

    def logits(self, count: int) -> NDArray[np.float32]:
        """The last batch's logits, shape (count, vocabulary): a view, valid until the next."""
        if not 0 < count <= self._outputs:
            raise ValueError(f"{count} rows of logits; the last batch made {self._outputs}.")
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(count, self._vocabulary))

    def wait(self) -> None:
        """Until the device has done what it was given."""
        llama_cpp.llama_synchronize(self._context)

    def share(self, source: int, target: int, length: int) -> bool:
        """Give an empty `target` the first `length` cells of `source`; False: it stays empty.

        In a split cache they are copied through host memory. (llama.cpp's own copy moves the whole
        part, used or not, and only at the next decode, when the source may have changed.)
        """
        check_sequence(source, self._cache.sequences)
        check_sequence(target, self._cache.sequences)
        if self._cache.split:
            return self.restore(target, self.save(source), length)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)
        return self.cut(target, length)

    def cut(self, sequence: int, length: int) -> bool:
        """Forget all but the first `length` tokens; False: not possible, and it is empty now.

        llama.cpp's word alone is not enough: cells that a sliding window has dropped are gone, and
        removing what comes after them succeeds.
        """
        check_sequence(sequence, self._cache.sequences)
        done = llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)
        if done and self.holds(sequence, length):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)  # never fails
        return False

    def holds(self, sequence: int, length: int) -> bool:
        """Whether the cache has exactly the first `length` positions, in every layer.

        llama.cpp may give cells behind a sliding window to others even where it need not.
        """
        first = llama_cpp.llama_memory_seq_pos_min(self._memory, sequence)
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)
        return (first, last) == ((0, length - 1) if length else (-1, -1))

    def save(self, sequence: int, start: int = 0) -> State:
        """A copy of a sequence's cells from position `start` on in host memory.

        llama.cpp leaves out what its last token's sliding window does not reach, without which a
        shorter prefix is worth nothing. So the sequence is saved a window at a time.
        """
        check_sequence(sequence, self._cache.sequences)
        length = int(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)) + 1
        if not start and not self._cache.in_windows:
            return State((self._save(sequence),), max(length, 1))
        scratch = self._cache.sequences
        span = self._cache.window if self._cache.in_windows else max(length - start, 1)
        pieces: list[NDArray[np.uint8]] = []
        for at in range(start, length, span):
            llama_cpp.llama_memory_seq_cp(self._memory, sequence, scratch, at, at + span)
            pieces.append(self._save(scratch))
            llama_cpp.llama_memory_seq_rm(self._memory, scratch, -1, -1)
        return State(tuple(pieces), span)

    def restore(self, sequence: int, state: State, length: int) -> bool:
        """Bring the first `length` saved positions back into an empty sequence; False: no place."""
        check_sequence(sequence, self._cache.sequences)
        pieces = state.pieces[: -(-length // state.span)]
        if len(pieces) == 1:
            return self._restore(sequence, pieces[0]) and self.cut(sequence, length)
        return self._append(sequence, pieces) and self.cut(sequence, length)

    def append(self, sequence: int, state: State, length: int) -> bool:
        """Put saved cells behind those of the sequence, `length` in all; False: it is empty now."""
        return self._append(sequence, state.pieces) and self.cut(sequence, length)

    def clear(self) -> None:
        """Forget every sequence."""
        llama_cpp.llama_memory_clear(self._memory, True)

    def _append(self, sequence: int, pieces: Sequence[NDArray[np.uint8]]) -> bool:
        """Saved cells behind those of the sequence; False: no place, and it is empty."""
        scratch = self._cache.sequences
        for piece in pieces:
            if not self._restore(scratch, piece):
                self.cut(sequence, 0)
                return False
            llama_cpp.llama_memory_seq_cp(self._memory, scratch, sequence, -1, -1)
            llama_cpp.llama_memory_seq_rm(self._memory, scratch, -1, -1)
        return True

    def _save(self, sequence: int) -> NDArray[np.uint8]:
        size = int(llama_cpp.llama_state_seq_get_size_ext(self._context, sequence, 0))
        state = np.empty(size, np.uint8)
        written = int(
            llama_cpp.llama_state_seq_get_data_ext(
                self._context, state.ctypes.data_as(_BYTES), size, sequence, 0
            )
        )
        return state[:written]

    def _restore(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        read = llama_cpp.llama_state_seq_set_data_ext(
            self._context, state.ctypes.data_as(_BYTES), len(state), sequence, 0
        )
        if not read:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return bool(read)
