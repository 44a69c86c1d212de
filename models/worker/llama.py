"""llama.cpp through llama-cpp-python's low-level API: a model, its vocabulary and its contexts.

The home of `llama_cpp`, with `llama_context`, `llama_loading`, `llama_embedder` and
`backend_sampling`.
"""

import ctypes
import functools
import importlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import LoadFailed, ModelError
from models.worker.backend_sampling import BackendSamplers, Recipe
from models.worker.batch import Rows
from models.worker.limits import cache_sizes, check_sequence, check_token
from models.worker.llama_context import BATCH, Cache, LlamaContext, State, open_context
from models.worker.llama_loading import Adapters, Weights, cache_type
from models.worker.vocabulary import grammar_tokenizer, read_vocabulary

# llama_cpp's signatures are ctypes built at run time; to the type checker they are Any.
llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["BATCH", "Llama", "Rows", "State"]

VECTORS = 17  # of a token, measured: its own, and three as wide as the feed-forward network
MAX_SEQUENCES = 255  # llama.cpp's LLAMA_MAX_SEQ, less one that saved cells pass through
TRIED_RECIPES = (Recipe(), Recipe(0.8, 40, 0.9, 0.05, 1, ((0, 0.0),)))


class Llama(LlamaContext):
    """A loaded model with a context over a KV cache of `kv_tokens` cells.

    In a `split` cache each sequence has `context` of them at least. A recurrent model's is always
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
        recurrent = bool(llama_cpp.llama_model_is_recurrent(self._model))
        hybrid = bool(llama_cpp.llama_model_is_hybrid(self._model))
        window = int(llama_cpp.llama_model_n_swa(self._model))
        self.split = split or recurrent
        self.context, self.kv_tokens = cache_sizes(
            context or self._usual_context(trained),
            None if recurrent else kv_tokens,
            trained,
            sequences if self.split else 1,
        )
        # A recurrent state cannot be cut back. What lies behind a sliding window cannot be
        # copied from one part of a split cache to another.
        uncuttable = recurrent or hybrid or (self.split and window > 0)
        self.shares_prefixes = share_prefixes and not uncuttable
        cache = Cache(
            self.kv_tokens,
            sequences,
            split=self.split,
            shared=self.shares_prefixes,
            window=window,
            kv_type=cache_type(kv_type),
        )
        with ThreadPoolExecutor(1, "context") as thread:
            opening = thread.submit(self._open, cache, threads)
            self._read_vocabulary()
            opened = opening.result()
        if not opened:
            raise LoadFailed(
                f"{path}: a context of {self.kv_tokens} tokens ({kv_type}) failed: "
                f"{weights.errors.reason}"
            )
        super().__init__(opened, cache, vocabulary=self.vocabulary, batch=self.batch_tokens)
        self._adapters = Adapters(self._model, lora)
        self._adapters.apply(opened)
        self._threads = threads
        # With a GPU, host memory is farther away, and prompts take a small part of the time.
        self._on_cpu = gpu_layers == 0 or not llama_cpp.llama_supports_gpu_offload()
        self._samplers = (
            BackendSamplers(opened, self.vocabulary)
            if self._samples_on_backend(backend_sampling, gpu_layers, safe_mode)
            else None
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens that one batch takes."""
        return BATCH

    @property
    def reads_apart(self) -> bool:
        """Whether it is of use to read prompts in another context, and bring them here."""
        return bool(self._cache.scratch) and self._on_cpu and self._threads > 1

    @property
    def batch_bytes(self) -> int:
        """About what a context takes to compute a batch: the vectors that it is at work on."""
        return 4 * BATCH * VECTORS * int(llama_cpp.llama_model_n_embd(self._model))

    def another(self, cells: int) -> LlamaContext | None:
        """A second context of the model, with one sequence; None where llama.cpp refuses.

        What is saved of a sequence there can be appended here, and the other way round.
        """
        cache = replace(self._cache, cells=cells, sequences=1)
        opened = self._open(cache, self._threads)
        if not opened:
            return None
        self._adapters.apply(opened)
        return LlamaContext(opened, cache, vocabulary=self.vocabulary)

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja template, if it has one."""
        return self._own_template(None)

    @property
    def tool_template(self) -> str | None:
        """The one that it has beside that for talks with tools, as Hermes 3 and Command R do."""
        return self._own_template(b"tool_use")

    def _own_template(self, name: bytes | None) -> str | None:
        found = llama_cpp.llama_model_chat_template(self._model, name)
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
        check_sequence(sequence, self._cache.sequences)
        if self._samplers is not None:
            self._samplers.use(sequence, recipe)

    def drawn(self, row: int) -> int:
        """The token drawn for a row of the last batch that wanted logits, counted from 0."""
        if self._samplers is None or not 0 <= row < self._outputs:
            raise ValueError(f"Row {row}; the last batch made {self._outputs}.")
        return self._samplers.drawn(row - self._outputs)

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

    def _open(self, cache: Cache, threads: int) -> Any:
        return open_context(self._model, cache, threads)
