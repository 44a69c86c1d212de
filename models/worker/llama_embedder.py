"""A GGUF embedding model, run by llama.cpp: pooled, and seen as a `TextEncoder`."""

import ctypes
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import LoadFailed, ModelError
from models.worker.limits import check_rows
from models.worker.llama import BATCH, Llama, Rows
from models.worker.llama_context import Cache
from models.worker.messages import WorkerSpec

llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["BATCH_ROWS", "LlamaEncoder", "PooledLlama"]

# What a model reads at once if nobody says otherwise: all of a window is one physical batch, and
# llama.cpp's buffers grow with it.
LONGEST_WINDOW = 2048
BATCH_ROWS = 64


class LlamaEncoder:
    """A `models.worker.embedding.TextEncoder`. Raises LoadFailed."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._llama = PooledLlama.of(spec)
        self.dimension = self._llama.dimension
        self.context = self._llama.context
        self.vocabulary = self._llama.vocabulary
        # Without memory, attention looks at all tokens of a batch, whose ever they are: larger
        # ones cost more a token.
        self.batch_tokens = BATCH
        self.batch_rows = BATCH_ROWS
        bare, full = (
            self._llama.tokenize("a", add_special=special, parse_special=False)
            for special in (False, True)
        )
        before = next((at for at in range(len(full)) if full[at : at + len(bare)] == bare), 0)
        self.special = full[:before], full[before + len(bare) :]

    @property
    def longest_token(self) -> int:
        return self._llama.longest_piece

    def prompt(self, kind: str) -> str:
        return ""  # GGUF files do not say

    def tokenize(self, texts: Sequence[str], *, parse_special: bool = False) -> list[list[int]]:
        return self._llama.ids(texts, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> str:
        piece = self._llama.special_piece if special else self._llama.piece
        text = b"".join(map(piece, tokens)).decode("utf-8", "replace")
        return text.removeprefix(" ")  # that the vocabulary puts before the first word

    def spell(self, token: int) -> bytes:
        return self._llama.special_piece(token)

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        vectors = self._llama.embed(rows)
        if not np.isfinite(vectors).all():
            raise ModelError("The model gave a vector that is not finite.")
        return vectors


class PooledLlama(Llama):
    """A model whose context makes one vector a sequence.

    Pooled as `pooling` says, else as the model file says, by the mean where it says nothing.
    Raises LoadFailed for a reranker, and for a model of encoder and decoder.
    """

    def __init__(self, path: Path, *, pooling: str | None = None, **options: Any) -> None:
        self._wanted = pooling
        super().__init__(path, **options)

    @classmethod
    def of(cls, spec: WorkerSpec) -> Self:
        """As a worker is told; no cache outlives a batch."""
        return cls(
            Path(spec.path),
            context=spec.context,
            kv_tokens=None,
            sequences=BATCH_ROWS,
            threads=spec.threads,
            gpu_layers=spec.gpu_layers,
            safe_mode=spec.safe_mode,
            tensor_split=spec.tensor_split,
            lora=spec.lora,
            pooling=spec.pooling,
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens that one batch takes: no input is split over two."""
        return max(BATCH, self.context)

    @property
    def dimension(self) -> int:
        """Of its vectors; of a reranker, how many figures it gives a sequence."""
        return int(llama_cpp.llama_model_n_embd_out(self._model))

    def ids(self, texts: Sequence[str], *, parse_special: bool = False) -> list[list[int]]:
        """Tokens of each text, without those that stand around it."""
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates
        return [
            self.tokenize(text, add_special=False, parse_special=parse_special) for text in clean
        ]

    def embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector a row, shape (rows, dimension), as pooled. Raises ModelError."""
        batch = [Rows(at, 0, tokens, True) for at, tokens in enumerate(rows)]
        if self._memory:
            self.clear()
            status = self.decode(batch)
        else:  # attends in both directions and keeps nothing
            check_rows(
                batch,
                batch=self.batch_tokens,
                sequences=self._cache.sequences,
                cells=self.batch_tokens,
            )
            status = int(llama_cpp.llama_encode(self._context, self._batch.fill(batch)))
        if status != 0:
            raise ModelError(f"llama.cpp could not embed a batch (status {status}).")
        found = np.empty((len(rows), self.dimension), np.float32)
        for at in range(len(rows)):
            vector = llama_cpp.llama_get_embeddings_seq(self._context, at)
            found[at] = np.ctypeslib.as_array(vector, shape=(self.dimension,))
        return found

    def _usual_context(self, trained: int) -> int | None:
        return min(LONGEST_WINDOW, trained)

    def _open(self, cache: Cache, threads: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.batch_tokens
        params.n_seq_max = cache.sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.swa_full = True  # a window smaller than the batch would split it
        params.embeddings = True
        params.pooling_type = self._pooling()
        params.no_perf = True
        return llama_cpp.llama_init_from_model(self._model, params)

    def _pooling(self) -> int:
        if llama_cpp.llama_model_has_encoder(self._model) and llama_cpp.llama_model_has_decoder(
            self._model
        ):
            raise LoadFailed("A model of encoder and decoder is not an embedding model.")
        stored = self._metadata(f"{self._metadata('general.architecture')}.pooling_type")
        if stored == str(llama_cpp.LLAMA_POOLING_TYPE_RANK):
            raise LoadFailed('This is a reranker, not an embedding model; its kind is "rerank".')
        if self._wanted is not None:
            return int(getattr(llama_cpp, f"LLAMA_POOLING_TYPE_{self._wanted.upper()}"))
        if stored in ("", str(llama_cpp.LLAMA_POOLING_TYPE_NONE)):
            return int(llama_cpp.LLAMA_POOLING_TYPE_MEAN)
        return int(llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED)  # the model's own

    def _metadata(self, key: str) -> str:
        """The model file's value of a short key, or ''."""
        text = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_meta_val_str(self._model, key.encode(), text, len(text))
        return text.value.decode("utf-8", "replace")
