"""A GGUF reranker, run by llama.cpp: a `PairScorer`."""

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import LoadFailed
from models.worker.llama import BATCH
from models.worker.llama_embedder import BATCH_ROWS, PooledLlama
from models.worker.messages import WorkerSpec
from models.worker.windows import Window

llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["LlamaScorer"]

QUERY, DOCUMENT = "{query}", "{document}"


class LlamaScorer:
    """A `models.worker.reranking.PairScorer`. Raises LoadFailed.

    Pairs are written by the file's template called "rerank", or with the vocabulary's own marks
    around and between the two texts (as llama-server does, which leaves out BERT's last). The
    score is the logistic function of the model's figure, or that of "yes" where llama.cpp has made
    probabilities of two.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._llama = _Ranking.of(spec)
        self.context = self._llama.context
        self.batch_tokens = BATCH
        self.batch_rows = BATCH_ROWS
        self._frame = self._llama.frame()
        self.overhead = sum(map(len, self._frame))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return self._llama.ids(texts)

    def pair(self, query: Sequence[int], document: Sequence[int]) -> tuple[list[int], int]:
        before, between, after = self._frame
        head = [*before, *query, *between]
        return [*head, *document, *after], len(head)

    def score(self, pairs: Sequence[Window]) -> NDArray[np.float32]:
        found = self._llama.embed([pair.tokens for pair in pairs])[:, 0]
        return found if self._llama.probabilities else _logistic(found)


class _Ranking(PooledLlama):
    """A model whose context rates sequences. Raises LoadFailed for one that does not."""

    @property
    def dimension(self) -> int:
        """Figures a sequence."""
        return int(llama_cpp.llama_model_n_cls_out(self._model))

    @functools.cached_property
    def probabilities(self) -> bool:
        """Whether llama.cpp makes probabilities of them: of Qwen 3's "yes" and "no" it does."""
        return self._metadata("general.architecture").startswith("qwen3")

    def frame(self) -> tuple[list[int], list[int], list[int]]:
        """Ids before the query, between the two texts, and after the document."""
        template = llama_cpp.llama_model_chat_template(self._model, b"rerank")
        if template is not None:
            return self._by_template(template.decode("utf-8", "replace"))
        vocab = self._vocab
        bos, eos, sep = (
            [int(token(vocab))] if wanted(vocab) else []
            for token, wanted in (
                (llama_cpp.llama_vocab_bos, llama_cpp.llama_vocab_get_add_bos),
                (llama_cpp.llama_vocab_eos, llama_cpp.llama_vocab_get_add_eos),
                (llama_cpp.llama_vocab_sep, llama_cpp.llama_vocab_get_add_sep),
            )
        )
        # BERT's [CLS] q [SEP] d [SEP], and XLM-RoBERTa's <s> q </s></s> d </s>.
        return bos, [*eos, *sep], eos or sep

    def _by_template(self, template: str) -> tuple[list[int], list[int], list[int]]:
        before, found, rest = template.partition(QUERY)
        between, also, after = rest.partition(DOCUMENT)
        if not (found and also):
            raise LoadFailed(f'The template "rerank" does not have {QUERY} before {DOCUMENT}.')
        head, middle, tail = (
            self.tokenize(text, add_special=False, parse_special=True)
            for text in (before, between, after)
        )
        return head, middle, tail

    def _pooling(self) -> int:
        stored = self._metadata(f"{self._metadata('general.architecture')}.pooling_type")
        if stored != str(llama_cpp.LLAMA_POOLING_TYPE_RANK):
            raise LoadFailed("This is no reranker: its pooling_type is not 4 (rank).")
        if self.dimension != 1 and not self.probabilities:
            raise LoadFailed(f"A reranker gives one figure a pair; this gives {self.dimension}.")
        return int(llama_cpp.LLAMA_POOLING_TYPE_RANK)


def _logistic(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)
