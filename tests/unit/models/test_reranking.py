"""The reranking loop, over a scorer whose scores tell what it read."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import InvalidRequest, ModelError, QueueFull, Unsupported
from models.types import (
    EmbedRequest,
    GenerateRequest,
    RerankRequest,
    TextPrompt,
    TokenizeRequest,
)
from models.worker import backlog, messages
from models.worker.cores import CoreLock
from models.worker.reranking import RerankingLoop
from models.worker.windows import Window

BEGIN, MIDDLE, END = 300, 301, 302


class Letters:
    """Ids are bytes; the score is the share of the document's bytes that are in the query."""

    context, overhead, batch_tokens, batch_rows = 13, 3, 60, 8

    def __init__(self) -> None:
        self.passes: list[list[Window]] = []
        self.broken = False

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def pair(self, query: Sequence[int], document: Sequence[int]) -> tuple[list[int], int]:
        return [BEGIN, *query, MIDDLE, *document, END], len(query) + 2

    def score(self, pairs: Sequence[Window]) -> NDArray[np.float32]:
        self.passes.append(list(pairs))
        if self.broken:
            raise ModelError("broken")
        found: list[float] = []
        for pair in pairs:
            assert len(pair.tokens) <= self.context
            query, text = pair.tokens[1 : pair.second - 1], pair.tokens[pair.second : -1]
            found.append(sum(each in query for each in text) / max(1, len(text)))
        return np.array(found, np.float32)


class Worker:
    def __init__(self) -> None:
        self.scorer = Letters()
        self.said: list[messages.FromWorker] = []
        self.loop = RerankingLoop(self.scorer, CoreLock(None), self.said.append)

    def rerank(self, number: int, query: str, *documents: str, owner: str = "local") -> None:
        self.loop.rerank(messages.Rerank(number, RerankRequest(query, documents, owner)))

    def run(self) -> None:
        while self.loop.busy:
            self.loop.step()

    def scores(self, number: int) -> tuple[float, ...]:
        for message in self.said:
            if isinstance(message, messages.Reranked) and message.id == number:
                return message.result.scores
        raise AssertionError(self.said)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_scores_come_in_the_order_of_the_documents(worker: Worker) -> None:
    worker.loop.probe()
    worker.rerank(1, "ab", "xx", "ab", "", "ax")
    worker.run()
    assert worker.scores(1) == (0.0, 1.0, 0.0, 0.5)
    (message,) = worker.said
    assert isinstance(message, messages.Reranked)
    assert message.result.tokens == 4 * (2 + 3) + 6
    assert not worker.loop._requests
    assert not worker.loop._backlog


def test_a_long_document_is_as_good_as_its_best_part(worker: Worker) -> None:
    worker.rerank(1, "ab", "x" * 17 + "a" * 8 + "x" * 30, "x" * 40)
    worker.run()
    assert worker.scores(1) == (7 / 8, 0.0)  # the third window of eight has seven of them


def test_requests_share_batches(worker: Worker) -> None:
    for number in range(3):
        worker.rerank(number, "ab", "ab", "xx", owner=str(number))
    worker.run()
    assert [len(batch) for batch in worker.scorer.passes] == [6]
    assert all(worker.scores(number) == (1.0, 0.0) for number in range(3))


def test_one_that_comes_later_does_not_wait_for_hundreds(worker: Worker) -> None:
    worker.rerank(1, "ab", *["ab"] * 500)
    worker.loop.step()
    worker.rerank(2, "ab", "ab")
    worker.run()
    assert [message.id for message in worker.said if isinstance(message, messages.Reranked)] == [
        2,
        1,
    ]


def test_no_documents_no_scores_and_a_cancelled_request_none(worker: Worker) -> None:
    worker.rerank(1, "ab")
    worker.rerank(2, "ab", *["ab"] * 500)
    worker.loop.step()
    worker.loop.cancel(2)
    worker.loop.cancel(7)
    assert not worker.loop.busy
    assert worker.scores(1) == ()
    assert len(worker.said) == 1


@pytest.mark.parametrize(
    ("query", "document", "param"),
    [
        ("abcdef", "x", "query"),  # more than half of what the model reads
        ("x" * 20_001, "x", "query"),
        ("ab", "x" * 500_001, "documents"),
    ],
)
def test_what_is_too_long_is_refused(worker: Worker, query: str, document: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        worker.rerank(1, query, "fine", document)
    assert raised.value.param == param
    assert not worker.loop.busy


def test_a_document_of_too_many_windows_fails_its_own_request(worker: Worker) -> None:
    worker.rerank(1, "ab", "ab", "x" * (8 * 256 + 1))
    worker.rerank(2, "ab", "ab")
    worker.run()
    failed = next(each for each in worker.said if isinstance(each, messages.Failed))
    assert (failed.id, failed.param) == (1, "documents")
    assert worker.scores(2) == (1.0,)


def test_what_fails_in_the_model_fails_those_in_the_batch(worker: Worker) -> None:
    worker.rerank(1, "ab", "ab")
    worker.scorer.broken = True
    worker.run()
    assert isinstance(worker.said[0], messages.Failed)
    worker.scorer.broken = False
    worker.rerank(2, "ab", "ab")
    worker.run()
    assert worker.scores(2) == (1.0,)


def test_more_than_may_wait_of_one_owner_is_refused(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MAX_WAITING", 100)
    worker.rerank(1, "ab", "x" * 90)
    with pytest.raises(QueueFull) as raised:
        worker.rerank(2, "ab", "x")
    assert raised.value.retry_after_s >= 1
    worker.rerank(3, "ab", "x", owner="another")
    worker.run()
    worker.rerank(4, "ab", "x")


def test_it_does_nothing_else(worker: Worker) -> None:
    loop, text = worker.loop, TextPrompt("x")
    for call in (
        lambda: loop.embed(messages.Embed(1, EmbedRequest(("x",)))),
        lambda: loop.generate(messages.Generate(1, GenerateRequest(text))),
        lambda: loop.tokenize(TokenizeRequest(text)),
        lambda: loop.detokenize((1,), False),
        lambda: loop.spell((1,)),
    ):
        with pytest.raises(Unsupported):
            call()
