"""A sentence-transformers model. The only home of sentence_transformers and torch."""

import copy
import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from models.errors import LoadFailed

# torch's own annotations are partly unknown; to the type checker it is Any.
torch: Any = importlib.import_module("torch")

__all__ = ["SentenceEncoder"]

# Padded tokens of one forward pass. On a processor larger ones are no faster, and while the
# answers of one batch are written the next one is computed; a GPU wants to be filled.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 16_384
BATCH_ROWS = 1024
POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


class SentenceEncoder:
    """A `models.worker.embedding.TextEncoder`. Raises LoadFailed.

    `trust_remote_code` runs Python that lies in the folder.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        *,
        pooling: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        device = _device()
        try:
            self._model: Any = SentenceTransformer(
                str(path),
                device=device,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
        except Exception as error:
            raise LoadFailed(f"{path}: {error}") from error
        if pooling is not None:
            _pool(path, self._model, POOLING[pooling])
        self._model.eval()
        self._tokenizer: Any = self._model.tokenizer
        self.dimension = int(self._model.get_embedding_dimension())
        self.context = int(self._model.max_seq_length or 512)
        self.vocabulary = len(self._tokenizer)
        self.longest_token = max(map(len, self._tokenizer.get_vocab()))
        self.special = _special_tokens(self._tokenizer)
        self.batch_tokens = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS
        self.batch_rows = BATCH_ROWS
        prompts: dict[str, str] = dict(self._model.prompts or {})
        self._prompts = {
            "query": prompts.get("query", ""),
            "document": prompts.get("document", prompts.get("passage", "")),
        }
        self._pad = int(self._tokenizer.pad_token_id or 0)

    def prompt(self, kind: str) -> str:
        return self._prompts[kind]

    def tokenize(self, texts: Sequence[str], *, parse_special: bool = True) -> list[list[int]]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates
        tokenizer = self._tokenizer if parse_special else self._literal_tokenizer
        found = tokenizer(
            clean, add_special_tokens=False, split_special_tokens=not parse_special, verbose=False
        )["input_ids"]
        return [list(ids) for ids in found]

    @functools.cached_property
    def _literal_tokenizer(self) -> Any:
        """Reads special tokens as text.

        A copy, because the switch is part of a tokenizer and may not be thrown while another
        thread uses it.
        """
        return copy.deepcopy(self._tokenizer)

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=not special))

    def spell(self, token: int) -> bytes:
        return str(self._tokenizer.convert_ids_to_tokens(token)).encode()

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        device = self._model.device
        with torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(ids).to(device),
                "attention_mask": torch.from_numpy(mask).to(device),
            }
            found: NDArray[np.float32] = (
                self._model(features)["sentence_embedding"].float().cpu().numpy()
            )
        return found


def _pool(path: Path, model: Any, mode: str) -> None:
    """Have the model pool otherwise than its own files say."""
    for name, module in model.named_children():
        if hasattr(module, "pooling_mode"):
            setattr(model, name, type(module)(module.embedding_dimension, mode))
            return
    raise LoadFailed(f"{path} has no pooling of its own that could be changed; leave pooling out.")


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    bare, full = (
        list(tokenizer("a", add_special_tokens=added, split_special_tokens=False)["input_ids"])
        for added in (False, True)
    )
    for at in range(len(full) - len(bare) + 1):
        if full[at : at + len(bare)] == bare:
            return full[:at], full[at + len(bare) :]
    return [], []
