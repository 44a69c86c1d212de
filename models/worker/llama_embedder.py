"""A GGUF embedding model, run by llama.cpp."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.worker.llama import BATCH, LlamaEmbeddings
from models.worker.messages import WorkerSpec

__all__ = ["LlamaEncoder"]

# What a model reads at once if nobody says otherwise: all of a window is one physical batch, and
# llama.cpp's buffers grow with it.
LONGEST_WINDOW = 2048
BATCH_ROWS = 64


class LlamaEncoder:
    """A `models.worker.embedding.TextEncoder`. Raises LoadFailed."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._llama = LlamaEmbeddings(
            Path(spec.path),
            context=spec.context or LONGEST_WINDOW,
            kv_tokens=BATCH,  # at least; `context` if that is more
            sequences=BATCH_ROWS,
            threads=spec.threads,
            gpu_layers=spec.gpu_layers,
            safe_mode=spec.safe_mode,
        )
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

    def prompt(self, kind: str) -> str:
        return ""  # GGUF files do not say

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates
        return [
            self._llama.tokenize(text, add_special=False, parse_special=False) for text in clean
        ]

    def detokenize(self, tokens: Sequence[int]) -> str:
        text = b"".join(map(self._llama.piece, tokens)).decode("utf-8", "replace")
        return text.removeprefix(" ")  # that the vocabulary puts before the first word

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        vectors = self._llama.embed(rows)
        if not np.isfinite(vectors).all():
            raise ModelError("The model gave a vector that is not finite.")
        return vectors
