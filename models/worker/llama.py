"""llama.cpp through llama-cpp-python's low-level API: load, tokenise, decode, share cells.

The home of `llama_cpp`, with `llama_embedder`. Sizes are checked here before llama.cpp sees them,
because an assert over there ends the process.
"""

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import LoadFailed

# llama_cpp's signatures are ctypes built at run time; to the type checker they are Any.
llama_cpp: Any = importlib.import_module("llama_cpp")
_llguidance: Any = importlib.import_module("llguidance.llamacpp")

__all__ = ["BATCH", "Llama", "Rows"]

BATCH = 512  # tokens of one llama_decode; also the physical batch
MAX_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
CONTINUED_LEVEL = 5
_BYTES = ctypes.POINTER(ctypes.c_uint8)


@dataclass(frozen=True)
class Rows:
    """Tokens of one sequence to decode at position `start`; `logits` of the last one if wanted."""

    sequence: int
    start: int
    tokens: Sequence[int]
    logits: bool


class Llama:
    """A loaded model with one context over one unified KV cache of `kv_tokens` cells.

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
    ) -> None:
        if not 1 <= sequences <= MAX_SEQUENCES:
            raise LoadFailed(f"{sequences} sequences asked for; llama.cpp allows {MAX_SEQUENCES}.")
        llama_cpp.llama_backend_init()
        with _collected_errors() as errors:
            self._model = self._load(path, gpu_layers, safe_mode)
            if not self._model:
                raise LoadFailed(f"{path}: {_reason(errors)}")
            trained = int(llama_cpp.llama_model_n_ctx_train(self._model))
            self.context = min(context or trained, trained)
            self.kv_tokens = max(kv_tokens or 2 * self.context, self.context)
            self._context = self._open(sequences, threads)
            if not self._context:
                raise LoadFailed(
                    f"{path}: a context of {self.kv_tokens} tokens failed: {_reason(errors)}"
                )
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(self.batch_tokens)
        self._pieces: dict[int, bytes] = {}
        self.end_tokens = frozenset(
            t for t in range(self.vocabulary) if llama_cpp.llama_vocab_is_eog(self._vocab, t)
        )
        unspoken = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        self.control_tokens = frozenset(
            t
            for t in range(self.vocabulary)
            if llama_cpp.llama_vocab_get_attr(self._vocab, t) & unspoken
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens that one batch takes."""
        return BATCH

    @property
    def shares_prefixes(self) -> bool:
        """Whether a sequence's cells can be shared and cut back: not where state is recurrent."""
        return not (
            llama_cpp.llama_model_is_recurrent(self._model)
            or llama_cpp.llama_model_is_hybrid(self._model)
        )

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

    def grammar_tokenizer(self) -> Any:
        """llguidance's view of this vocabulary, knowing every token that ends a turn."""
        eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        ends = [eos, *sorted(self.end_tokens - {eos})] if self.end_tokens else eos
        return _llguidance.lltokenizer_from_vocab(self._vocab, eos_token=ends)

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
        if token not in self._pieces:
            self._pieces[token] = self._piece(token, special=False)
        return self._pieces[token]

    def special_text(self, token: int) -> str:
        """How a control token is spelled; nothing for a token that does not exist."""
        if token < 0:
            return ""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def decode(self, rows: Sequence[Rows]) -> int:
        """Run one batch. 0 done, 1 no room in the KV cache (nothing changed), else failed."""
        return int(llama_cpp.llama_decode(self._context, self._batch.fill(rows)))

    def logits(self, count: int) -> NDArray[np.float32]:
        """The last batch's logits, shape (count, vocabulary): a view, valid until the next."""
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(count, self.vocabulary))

    def share(self, source: int, target: int, length: int) -> None:
        """Let `target` refer to the first `length` cells of `source`."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens of a sequence."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def state_size(self, sequence: int) -> int:
        """Bytes that `save` would give."""
        return int(llama_cpp.llama_state_seq_get_size_ext(self._context, sequence, 0))

    def save(self, sequence: int) -> NDArray[np.uint8]:
        """A copy of a sequence's cells in host memory, opaque."""
        size = self.state_size(sequence)
        state = np.empty(size, np.uint8)
        written = int(
            llama_cpp.llama_state_seq_get_data_ext(
                self._context, state.ctypes.data_as(_BYTES), size, sequence, 0
            )
        )
        return state[:written]

    def restore(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        """Bring saved cells back into an empty sequence; False if there was no place for them."""
        read = llama_cpp.llama_state_seq_set_data_ext(
            self._context, state.ctypes.data_as(_BYTES), len(state), sequence, 0
        )
        if not read:
            self.cut(sequence, 0)
        return bool(read)

    def clear(self) -> None:
        """Forget every sequence."""
        llama_cpp.llama_memory_clear(self._memory, True)

    def _load(self, path: Path, gpu_layers: int, safe_mode: bool) -> Any:
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = gpu_layers if gpu_layers >= 0 else 9999
        params.use_extra_bufts = not safe_mode
        return llama_cpp.llama_model_load_from_file(str(path).encode(), params)

    def _open(self, sequences: int, threads: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.kv_tokens
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        # A window that drops cells cannot be shared or cut back truthfully; keep them all.
        params.swa_full = True
        params.no_perf = True
        return llama_cpp.llama_init_from_model(self._model, params)

    def _piece(self, token: int, *, special: bool) -> bytes:
        room = 64
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, text, room, 0, special)
            if count >= 0:
                return text.raw[:count]
            room = -count


class _Batch:
    """llama.cpp's batch arrays behind NumPy views: filling one costs microseconds, not a loop."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._batch = llama_cpp.llama_batch_init(size, 0, 1)
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
        total = sum(len(row.tokens) for row in rows)
        if not 0 < total <= self._size:
            raise ValueError(f"A batch of {total} tokens; it takes 1 to {self._size}.")
        self._logits[:total] = 0
        at = 0
        for row in rows:
            end = at + len(row.tokens)
            self._token[at:end] = row.tokens
            self._position[at:end] = range(row.start, row.start + len(row.tokens))
            self._sequence[at:end] = row.sequence
            self._logits[end - 1] = row.logits
            at = end
        self._batch.n_tokens = total
        return self._batch


@contextlib.contextmanager
def _collected_errors() -> Generator[list[str]]:
    """llama.cpp's error lines while loading; they go to stderr as well, and nothing else does."""
    errors: list[str] = []

    def listen(level: int, text: bytes, _: object) -> None:
        if level == ERROR_LEVEL or (level == CONTINUED_LEVEL and errors):
            line = text.decode("utf-8", "replace")
            sys.stderr.write(line)
            if level == ERROR_LEVEL:
                errors.append(line.strip())

    global _listener  # llama.cpp keeps the pointer: it must outlive this call
    _listener = llama_cpp.llama_log_callback(listen)
    llama_cpp.llama_log_set(_listener, None)
    yield errors


_listener: Any = None


def _reason(errors: list[str]) -> str:
    """The first error line is the cause; the later ones repeat that loading failed."""
    return (
        errors[0].rsplit("error loading model: ", 1)[-1] if errors else "llama.cpp gave no reason"
    )
