"""sentence-transformers: embedders and cross-encoders. The only home of that."""

import copy
import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer

from models.errors import LoadFailed
from models.worker.packed import pack_linear_layers
from models.worker.windows import Window

# torch's own annotations are partly unknown; to the type checker it is Any.
torch: Any = importlib.import_module("torch")

__all__ = ["CrossEncoderScorer", "SentenceEncoder"]

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
        if not trust_remote_code:  # foreign code may read a layer's weights by itself
            pack_linear_layers(self._model)
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

    def encode(self, texts: Sequence[str]) -> None:
        """As the library has it: what `jurat bench-engine` compares with."""
        self._model.encode(list(texts), show_progress_bar=False, normalize_embeddings=True)

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        device = self._model.device
        with torch.inference_mode():
            features = {
                name: torch.from_numpy(each).to(device)
                for name, each in _padded(rows, self._pad).items()
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


class CrossEncoderScorer:
    """A `models.worker.reranking.PairScorer`. Raises LoadFailed.

    The score is the logistic function of the model's one logit, whatever activation its folder
    asks for.
    """

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        device = _device()
        try:
            model: Any = CrossEncoder(str(path), device=device, local_files_only=True)
        except Exception as error:
            raise LoadFailed(f"{path}: {error}") from error
        labels = int(model.num_labels)
        self._model: Any = getattr(model, "model", None)
        self._tokenizer: Any = model.tokenizer
        if labels != 1 or self._model is None:
            raise LoadFailed(
                f"{path}: a cross-encoder that ranks has one label; this has {labels}."
            )
        self._model.eval()
        pack_linear_layers(self._model)
        self.context = int(model.max_seq_length or 512)
        self.batch_tokens = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS
        self.batch_rows = BATCH_ROWS
        self._pad = int(self._tokenizer.pad_token_id or 0)
        probe = self._tokenizer("a", "b")
        first, second = (self._ids([text])[0] for text in "ab")
        ids: list[int] = list(probe["input_ids"])
        begin, middle = _find(ids, first, 0), _find(ids, second, len(first))
        self._frame = ids[:begin], ids[begin + len(first) : middle], ids[middle + len(second) :]
        self.overhead = sum(map(len, self._frame))
        kinds: list[int] | None = probe.get("token_type_ids")
        self._second_kind = None if kinds is None else kinds[middle]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ids([text.encode("utf-8", "replace").decode() for text in texts])

    def pair(self, query: Sequence[int], document: Sequence[int]) -> tuple[list[int], int]:
        before, between, after = self._frame
        head = [*before, *query, *between]
        return [*head, *document, *after], len(head)

    def score(self, pairs: Sequence[Window]) -> NDArray[np.float32]:
        features = _padded([pair.tokens for pair in pairs], self._pad)
        if self._second_kind is not None:
            kinds = np.zeros_like(features["input_ids"])
            for at, pair in enumerate(pairs):
                kinds[at, pair.second : len(pair.tokens)] = self._second_kind
            features["token_type_ids"] = kinds
        device = self._model.device
        with torch.inference_mode():
            given = {name: torch.from_numpy(each).to(device) for name, each in features.items()}
            logits = self._model(**given).logits[:, 0]
            found: NDArray[np.float32] = torch.sigmoid(logits.float()).cpu().numpy()
        return found

    def _ids(self, texts: list[str]) -> list[list[int]]:
        found = self._tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return [list(ids) for ids in found]


def _padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, NDArray[np.int64]]:
    """Token ids and attention mask, each of shape (rows, longest)."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _find(ids: list[int], part: list[int], start: int) -> int:
    """Where a part begins; 0 where it is not to be found."""
    at = range(start, len(ids) - len(part) + 1)
    return next((n for n in at if ids[n : n + len(part)] == part), 0)


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
