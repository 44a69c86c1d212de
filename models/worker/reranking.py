"""The reranking loop: queries with windows of documents to batches, the best score of each back.

What runs the model is a `PairScorer`: a cross-encoder of sentence-transformers, or llama.cpp.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest, ModelError, Unsupported
from models.types import RerankRequest, RerankResult, TokenizeRequest
from models.worker import messages
from models.worker.backlog import Backlog
from models.worker.cores import CoreLock
from models.worker.windows import Window, WindowQueue

__all__ = ["PairScorer", "RerankingLoop"]

MAX_WINDOWS = 256  # of one document; beyond that it is refused
MAX_DOCUMENT = 500_000  # characters of one: read whole between two forward passes
MAX_QUERY = 20_000  # characters
TOKENIZED_AT_ONCE = 20_000  # characters between two forward passes: some 20 ms
CHARACTERS_OF_A_CALL = 40  # what a document costs beside its length, however short


class PairScorer(Protocol):
    """A model that rates pairs of texts. Its methods may take all cores."""

    @property
    def context(self) -> int:
        """Tokens of one pair at most, special ones included."""
        ...

    @property
    def overhead(self) -> int:
        """Special tokens of a pair."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of one pass that serve it best; a single pair may be longer."""
        ...

    @property
    def batch_rows(self) -> int:
        """Pairs of one pass at most."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text without special ones; no text spells any."""
        ...

    def pair(self, query: Sequence[int], document: Sequence[int]) -> tuple[list[int], int]:
        """Both as the model reads them, and where the second begins."""
        ...

    def score(self, pairs: Sequence[Window]) -> NDArray[np.float32]:
        """A probability for each pair, shape (pairs,). Raises ModelError."""
        ...


@dataclass(eq=False)
class _Request:
    """Documents on their way: those before `at` are windows, `left` of which have no score yet."""

    id: int
    owner: str
    size: int
    query: list[int]
    documents: tuple[str, ...]
    best: list[float] = field(default_factory=list[float])
    tokens: int = 0
    at: int = 0
    left: int = 0


class RerankingLoop:
    """Windows of all waiting requests share batches. A document is as good as its best window."""

    def __init__(
        self, scorer: PairScorer, cores: CoreLock, send: Callable[[messages.FromWorker], None]
    ) -> None:
        self._scorer = scorer
        self._cores = cores
        self._send = send
        self._queue = WindowQueue(scorer.batch_tokens, scorer.batch_rows)
        self._requests: dict[int, _Request] = {}
        self._texts: deque[_Request] = deque()  # those with documents that are not yet windows
        self._backlog = Backlog("rated")
        self.dimension = None

    @property
    def context(self) -> int:
        """Tokens of a query and a window together, special ones included."""
        return self._scorer.context

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._texts or self._queue)

    def probe(self) -> None:
        """A short pair, one as long as a batch, several at once: what serving will compute."""
        width = min(self.context, self._scorer.batch_tokens) - self._scorer.overhead - 1
        rows = min(4, self._scorer.batch_rows)
        with self._cores:
            for count, length in ((1, 1), (1, max(1, width)), (rows, 2)):
                pair, second = self._scorer.pair([0], [0] * length)
                self._scorer.score([Window(0, 0, pair, second)] * count)

    def rerank(self, message: messages.Rerank) -> None:
        """Queue a request; raises InvalidRequest."""
        asked = message.request
        request = self._accept(message.id, asked)
        if not request.documents:  # no step would ever finish it
            self._send(messages.Reranked(request.id, RerankResult((), 0)))
            return
        self._requests[request.id] = request
        self._backlog.add(request.owner, request.size)
        self._texts.append(request)

    def generate(self, message: messages.Generate) -> None:
        """Refused: a reranker."""
        _refuse("chat")

    def embed(self, message: messages.Embed) -> None:
        """Refused: a reranker."""
        _refuse("embed")

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Refused: a reranker reads pairs."""
        _refuse("tokenise")

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str:
        """Refused: a reranker reads pairs."""
        _refuse("detokenise")

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]:
        """Refused: a reranker reads pairs."""
        _refuse("spell tokens")

    def cancel(self, request_id: int) -> None:
        """Drop what is not yet computed of a request."""
        request = self._requests.get(request_id)
        if request is not None:
            self._forget(request)

    def step(self) -> None:
        """Some more documents to windows, and one forward pass; finished requests are sent."""
        with self._cores:
            self._tokenize_some()
            if not self._queue:
                return
            batch = self._queue.take()
            begun = time.perf_counter()
            try:
                scores = self._scorer.score(batch)
                if not np.isfinite(scores).all():
                    raise ModelError("The model gave a score that is not finite.")
            except ModelError as error:
                for request_id in {window.request for window in batch}:
                    self._fail(self._requests[request_id], error)
                return
            elapsed_s = time.perf_counter() - begun
        tokens = sum(len(window.tokens) for window in batch)
        self._backlog.observe(tokens, elapsed_s)
        for window, score in zip(batch, scores.tolist(), strict=True):
            self._collect(window, score)

    def _accept(self, request_id: int, asked: RerankRequest) -> _Request:
        if len(asked.query) > MAX_QUERY:
            message = f"The query has {len(asked.query)} characters; the most is {MAX_QUERY}."
            raise InvalidRequest(message, "query")
        for row, document in enumerate(asked.documents):
            if len(document) > MAX_DOCUMENT:
                message = f"It has {len(document)} characters; the most is {MAX_DOCUMENT}."
                raise InvalidRequest(f"Document {row} is too long: {message}", "documents")
        query = self._scorer.tokenize([asked.query])[0]
        most = (self.context - self._scorer.overhead) // 2
        if len(query) > most:
            message = (
                f"The query has {len(query)} tokens; this model reads {most} beside a document."
            )
            raise InvalidRequest(message, "query")
        size = sum(map(len, asked.documents)) + CHARACTERS_OF_A_CALL * len(asked.documents)
        self._backlog.check(asked.owner, size)
        return _Request(
            request_id, asked.owner, size, query, asked.documents, [0.0] * len(asked.documents)
        )

    def _tokenize_some(self) -> None:
        """Documents of each request in turn become windows."""
        chosen: list[tuple[_Request, int]] = []
        size = 0
        while self._texts:
            request = self._texts[0]
            size += len(request.documents[request.at]) + CHARACTERS_OF_A_CALL
            if chosen and size > TOKENIZED_AT_ONCE:
                break
            chosen.append((self._texts.popleft(), request.at))
            request.at += 1
            if request.at < len(request.documents):
                self._texts.append(request)
        if chosen:
            found = self._scorer.tokenize([request.documents[row] for request, row in chosen])
            for (request, row), ids in zip(chosen, found, strict=True):
                self._cut(request, row, ids)

    def _cut(self, request: _Request, row: int, ids: list[int]) -> None:
        """A document's ids as windows, each behind the query."""
        if request.id not in self._requests:  # an earlier document failed it
            return
        room = self.context - self._scorer.overhead - len(request.query)
        if len(ids) > room * MAX_WINDOWS:
            message = f"Document {row} has {len(ids)} tokens; the most is {room * MAX_WINDOWS}."
            self._fail(request, InvalidRequest(message, "documents"))
            return
        for at in range(0, max(len(ids), 1), room):
            tokens, second = self._scorer.pair(request.query, ids[at : at + room])
            self._queue.add(request.owner, Window(request.id, row, tokens, second))
            request.tokens += len(tokens)
            request.left += 1

    def _collect(self, window: Window, score: float) -> None:
        request = self._requests[window.request]
        request.best[window.row] = max(request.best[window.row], score)
        request.left -= 1
        if request.left == 0 and request.at == len(request.documents):
            self._forget(request)
            result = RerankResult(tuple(request.best), request.tokens)
            self._send(messages.Reranked(request.id, result))

    def _fail(self, request: _Request, error: ModelError) -> None:
        self._forget(request)
        self._send(messages.failure(request.id, error))

    def _forget(self, request: _Request) -> None:
        del self._requests[request.id]
        self._queue.remove(request.id)
        if request.at < len(request.documents):
            self._texts = deque(each for each in self._texts if each is not request)
        self._backlog.remove(request.owner, request.size)


def _refuse(verb: str) -> NoReturn:
    raise Unsupported(f"This is a reranking model; it does not {verb}.", "model")
