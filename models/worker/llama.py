"""llama.cpp through llama-cpp-python's low-level API: load, tokenise, decode, share cells.

The home of `llama_cpp`, with `llama_loading`, `llama_embedder` and `backend_sampling`. Sizes are
checked here before llama.cpp sees them, because an assert over there ends the process.
"""

import ctypes
import functools
import importlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import LoadFailed, ModelError
from models.worker.backend_sampling import BackendSamplers, Recipe
from models.worker.batch import Batch, Rows
from models.worker.limits import SCORED_ROWS, cache_sizes, check_rows, check_sequence, check_token
from models.worker.llama_loading import Weights, adapt, cache_type
from models.worker.vocabulary import grammar_tokenizer, read_vocabulary

# llama_cpp's signatures are ctypes built at run time; to the type checker they are Any.
llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["BATCH", "Llama", "Rows", "State"]

BATCH = 512  # tokens of one llama_decode; also the physical batch
MAX_SEQUENCES = 255  # llama.cpp's LLAMA_MAX_SEQ, less one that saved cells pass through
TRIED_RECIPES = (Recipe(), Recipe(0.8, 40, 0.9, 0.05, 1, ((0, 0.0),)))
_BYTES = ctypes.POINTER(ctypes.c_uint8)


@dataclass(frozen=True)
class State:
    """Cells of a sequence in host memory, opaque, in pieces of so many positions each."""

    pieces: tuple[NDArray[np.uint8], ...]
    span: int

    def __len__(self) -> int:
        return sum(piece.nbytes for piece in self.pieces)


class Llama:
    """A loaded model with one context over a KV cache of `kv_tokens` cells.

    In a unified cache any sequence may use any cell, and several the same one. In a `split` cache
    each has `kv_tokens / sequences` of its own, `context` at least. A recurrent model's is always
    split: it has one state a sequence, whatever the length.

    Raises LoadFailed with llama.cpp's own words.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int | None,
        kv_tokens: int | None,
        sequences: int,
        threads: int,
        gpu_layers: int,
        safe_mode: bool,
        split: bool = False,
        share_prefixes: bool = True,
        backend_sampling: str = "off",
        kv_type: str = "f16",
        tensor_split: Sequence[float] = (),
        lora: Sequence[tuple[str, float]] = (),
        weights: Weights | None = None,
    ) -> None:
        if not 1 <= sequences <= MAX_SEQUENCES:
            raise LoadFailed(f"{sequences} sequences asked for; llama.cpp allows {MAX_SEQUENCES}.")
        weights = weights or Weights(path, gpu_layers, tensor_split, safe_mode=safe_mode)
        self._model = weights.model()
        trained = int(llama_cpp.llama_model_n_ctx_train(self._model))
        self._sequences = sequences
        recurrent = bool(llama_cpp.llama_model_is_recurrent(self._model))
        hybrid = bool(llama_cpp.llama_model_is_hybrid(self._model))
        self._window = int(llama_cpp.llama_model_n_swa(self._model))
        self.split = split or recurrent
        self.context, self.kv_tokens = cache_sizes(
            context or self._usual_context(trained),
            None if recurrent else kv_tokens,
            trained,
            sequences if self.split else 1,
        )
        # A recurrent state cannot be cut back. What lies behind a sliding window cannot be
        # copied from one part of a split cache to another.
        uncuttable = recurrent or hybrid or (self.split and self._window > 0)
        self.shares_prefixes = share_prefixes and not uncuttable
        self._in_windows = self.shares_prefixes and self._window > 0
        # A sequence that cells pass through on their way to and from host memory, see `save`.
        self._scratch = int(self.shares_prefixes and not self.split)
        # Measured on processors: with a GPU, host memory is farther away and attention cheaper. A
        # sequence that lost cells behind a window runs on, but could not be brought back.
        on_cpu = gpu_layers == 0 or not llama_cpp.llama_supports_gpu_offload()
        self.sets_aside = bool(self._scratch and on_cpu and not self._window)
        self._kv_type = cache_type(kv_type)
        with ThreadPoolExecutor(1, "context") as thread:
            opening = thread.submit(self._open, threads)
            self._read_vocabulary()
            self._context = opening.result()
        if not self._context:
            raise LoadFailed(
                f"{path}: a context of {self.kv_tokens} tokens ({kv_type}) failed: "
                f"{weights.errors.reason}"
            )
        adapt(self._model, self._context, lora)
        self._memory = llama_cpp.llama_get_memory(self._context)
        size = self.batch_tokens
        self._batch = Batch(llama_cpp.llama_batch_init(size, 0, 1), size)
        self._samplers = (
            BackendSamplers(self._context, self.vocabulary)
            if self._samples_on_backend(backend_sampling, gpu_layers, safe_mode)
            else None
        )
        self._outputs = 0  # rows of logits that the last batch made

    @property
    def batch_tokens(self) -> int:
        """Tokens that one batch takes."""
        return BATCH

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja template, if it has one."""
        found = llama_cpp.llama_model_chat_template(self._model, None)
        return None if found is None else found.decode("utf-8", "replace")

    @property
    def bos(self) -> str:
        """Text of the token that begins a text, or ''."""
        return self.special_text(llama_cpp.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """Text of the token that ends a text, or ''."""
        return self.special_text(llama_cpp.llama_vocab_eos(self._vocab))

    @property
    def infill(self) -> tuple[int, int, int] | None:
        """Tokens before a text, before what follows the gap, and before what fills it, if any."""
        before = int(llama_cpp.llama_vocab_fim_pre(self._vocab))
        after = int(llama_cpp.llama_vocab_fim_suf(self._vocab))
        middle = int(llama_cpp.llama_vocab_fim_mid(self._vocab))
        return (before, after, middle) if min(before, after, middle) >= 0 else None

    def grammar_tokenizer(self) -> Any:
        """llguidance's view of this vocabulary, knowing every token that ends a turn.

        Raises ValueError where it takes no such vocabulary.
        """
        eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        ends = [token for token in (eos, *sorted(self.end_tokens - {eos})) if token >= 0]
        if not ends:
            raise ValueError("the file names no token that ends a text")
        return grammar_tokenizer(self._vocab, self._known, ends)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of a text; `add_special` adds BOS where the model wants one."""
        raw = text.encode("utf-8", "surrogatepass")
        room = len(raw) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = llama_cpp.llama_tokenize(
                self._vocab, raw, len(raw), tokens, room, add_special, parse_special
            )
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a control token."""
        piece = self.special_piece(token)
        return b"" if token in self.control_tokens else piece

    def special_piece(self, token: int) -> bytes:
        """The bytes of a token; a control token's are how it is spelled."""
        check_token(token, self.vocabulary)
        return self._known.pieces[token]

    @functools.cached_property
    def longest_piece(self) -> int:
        """Bytes of the longest token that is no control token."""
        controls = self.control_tokens
        return max(len(piece) for t, piece in enumerate(self._known.pieces) if t not in controls)

    def special_text(self, token: int) -> str:
        """How a control token is spelled; nothing for a token that does not exist."""
        return self.special_piece(token).decode("utf-8", "replace") if token >= 0 else ""

    def segments(self, text: str) -> list[str | int]:
        """A text cut at the tokens that no other tokens can spell; these as ids.

        The same that llguidance takes for special: control tokens, and added ones in brackets.
        """
        parts: list[str | int] = []
        for token in self.tokenize(text, add_special=False, parse_special=True):
            spelled = self.special_text(token)
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL or (
                attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
                and spelled.startswith("<")
                and spelled.endswith(">")
            ):
                before, _, text = text.partition(spelled)
                parts += [before, token] if before else [token]
        return [*parts, text] if text else parts

    def decode(self, rows: Sequence[Rows]) -> int:
        """Run one batch. 0 done, 1 no room in the KV cache (nothing changed), else failed.

        Raises ValueError for what llama.cpp would end the process for.
        """
        check_rows(rows, batch=self.batch_tokens, sequences=self._sequences, cells=self.kv_tokens)
        status = int(llama_cpp.llama_decode(self._context, self._batch.fill(rows)))
        self._outputs = sum(row.logits for row in rows) if status == 0 else 0
        return status

    def logits(self, count: int) -> NDArray[np.float32]:
        """The last batch's logits, shape (count, vocabulary): a view, valid until the next."""
        if not 0 < count <= self._outputs:
            raise ValueError(f"{count} rows of logits; the last batch made {self._outputs}.")
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(count, self.vocabulary))

    def wait(self) -> None:
        """Until the device has done what it was given."""
        llama_cpp.llama_synchronize(self._context)

    @property
    def draws(self) -> bool:
        """Whether it can draw tokens itself."""
        return self._samplers is not None

    def try_drawing(self) -> None:
        """Draw by recipes that use every kind of sampler; leave it be where the device cannot."""
        try:
            for recipe in TRIED_RECIPES if self.draws else ():
                self.clear()
                self.draw_by(0, recipe)
                if self.decode([Rows(0, 0, [0], True)]) != 0:
                    raise ModelError("llama.cpp could not decode.")
                self.drawn(0)
            self.draw_by(0, None)
        except ModelError as error:
            sys.stderr.write(f"llama.cpp cannot draw tokens on this device: {error}\n")
            self.draw_by(0, None)
            self._samplers = None

    def draw_by(self, sequence: int, recipe: Recipe | None) -> None:
        """Draw the sequence's tokens by this recipe, or leave that to the caller."""
        check_sequence(sequence, self._sequences)
        if self._samplers is not None:
            self._samplers.use(sequence, recipe)

    def drawn(self, row: int) -> int:
        """The token drawn for a row of the last batch that wanted logits, counted from 0."""
        if self._samplers is None or not 0 <= row < self._outputs:
            raise ValueError(f"Row {row}; the last batch made {self._outputs}.")
        return self._samplers.drawn(row - self._outputs)

    def share(self, source: int, target: int, length: int) -> bool:
        """Give an empty `target` the first `length` cells of `source`; False: it stays empty.

        In a split cache they are copied through host memory. (llama.cpp's own copy moves the whole
        part, used or not, and only at the next decode, when the source may have changed.)
        """
        check_sequence(source, self._sequences)
        check_sequence(target, self._sequences)
        if self.split:
            return self.restore(target, self.save(source), length)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)
        return self.cut(target, length)

    def cut(self, sequence: int, length: int) -> bool:
        """Forget all but the first `length` tokens; False: not possible, and it is empty now.

        llama.cpp's word alone is not enough: cells that a sliding window has dropped are gone, and
        removing what comes after them succeeds.
        """
        check_sequence(sequence, self._sequences)
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
        check_sequence(sequence, self._sequences)
        length = int(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)) + 1
        if not start and not self._in_windows:
            return State((self._save(sequence),), max(length, 1))
        scratch = self._sequences
        span = self._window if self._in_windows else max(length - start, 1)
        pieces: list[NDArray[np.uint8]] = []
        for at in range(start, length, span):
            llama_cpp.llama_memory_seq_cp(self._memory, sequence, scratch, at, at + span)
            pieces.append(self._save(scratch))
            llama_cpp.llama_memory_seq_rm(self._memory, scratch, -1, -1)
        return State(tuple(pieces), span)

    def restore(self, sequence: int, state: State, length: int) -> bool:
        """Bring the first `length` saved positions back into an empty sequence; False: no place."""
        check_sequence(sequence, self._sequences)
        pieces = state.pieces[: -(-length // state.span)]
        if len(pieces) == 1:
            return self._restore(sequence, pieces[0]) and self.cut(sequence, length)
        return self._append(sequence, pieces) and self.cut(sequence, length)

    def set_aside(self, sequence: int, start: int) -> State:
        """Move a sequence's cells from position `start` on to host memory; for `bring_back`."""
        state = self.save(sequence, start)
        self.cut(sequence, start)
        return state

    def bring_back(self, sequence: int, state: State, length: int) -> bool:
        """Put what was set aside behind what stayed, `length` in all; False: it is empty now."""
        return self._append(sequence, state.pieces) and self.cut(sequence, length)

    def clear(self) -> None:
        """Forget every sequence."""
        llama_cpp.llama_memory_clear(self._memory, True)

    def _append(self, sequence: int, pieces: Sequence[NDArray[np.uint8]]) -> bool:
        """Saved cells behind those of the sequence; False: no place, and it is empty."""
        scratch = self._sequences
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

    def _samples_on_backend(self, wish: str, gpu_layers: int, safe_mode: bool) -> bool:
        if wish != "auto" or safe_mode:
            return wish == "on"
        # The logits are where the output layer is, which moves to a GPU after all others.
        moved = gpu_layers < 0 or gpu_layers > llama_cpp.llama_model_n_layer(self._model)
        return moved and bool(llama_cpp.llama_supports_gpu_offload())

    def _usual_context(self, trained: int) -> int | None:
        """Where nobody says; None: what it was trained for."""
        return None

    def _read_vocabulary(self) -> None:
        vocab = self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._known = read_vocabulary(vocab)
        self.vocabulary = len(self._known.pieces)
        self.end_tokens, self.control_tokens = self._known.ends, self._known.controls

    def _open(self, threads: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.kv_tokens
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = self._sequences + self._scratch
        # The buffer of logits is made for as many rows: one a sequence, and those of given tokens.
        params.n_outputs_max = params.n_seq_max + SCORED_ROWS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = not self.split
        # A window that drops cells cannot be shared or cut back truthfully; keep them all.
        params.swa_full = self.shares_prefixes
        # Quantised values need flash attention; "auto", the default, refuses where there is none.
        params.type_k = params.type_v = self._kv_type
        params.no_perf = True
        return llama_cpp.llama_init_from_model(self._model, params)
