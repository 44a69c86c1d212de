"""The embedding loop, over an encoder whose vectors tell what it read."""

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import InvalidRequest, LoadFailed, ModelError, QueueFull
from models.types import EmbedRequest, TextPrompt, TokenizeRequest
from models.worker import backlog, embedding, messages
from models.worker.cores import CoreLock
from models.worker.embedding import EmbeddingLoop

CONTEXT = 10  # 8 of them for the text
BEGIN, END = 300, 301


class Letters:
    """Ids are bytes; a vector counts them, and the first axis is never empty."""

    dimension, context, vocabulary, batch_tokens, batch_rows = 302, CONTEXT, 302, 40, 8
    special = ([BEGIN], [END])
    longest_token = 1

    def __init__(self) -> None:
        self.passes: list[list[list[int]]] = []
        self.broken = False
        self.watch: Callable[[], None] = lambda: None
        self.read: list[list[str]] = []
        self.hold: threading.Event | None = None  # what other threads than the steps' wait for
        self.held = threading.Event()

    def prompt(self, kind: str) -> str:
        return "?" if kind == "query" else ""

    def tokenize(self, texts: Sequence[str], *, parse_special: bool = False) -> list[list[int]]:
        self.read.append(list(texts))
        if threading.current_thread() is threading.main_thread():
            self.watch()
        elif self.hold is not None:
            self.held.set()
            assert self.hold.wait(60)
        return [list(text.encode()) for text in texts]

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> str:
        return bytes(token for token in tokens if token < 256).decode()

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.watch()
        self.passes.append([list(row) for row in rows])
        if self.broken:
            raise ModelError("broken")
        counts = [np.bincount(row, minlength=self.dimension) for row in rows]
        return np.array(counts, np.float32)


class Worker:
    """A loop and what it has said."""

    def __init__(self, core_lock: str | None = None) -> None:
        self.encoder = Letters()
        self.said: list[messages.FromWorker] = []
        self.loop = EmbeddingLoop(self.encoder, CoreLock(core_lock), self.said.append)

    def embed(self, request_id: int, *inputs: str | tuple[int, ...], **options: str) -> None:
        self.loop.embed(messages.Embed(request_id, EmbedRequest(inputs, **options)))  # type: ignore[arg-type]

    def run(self) -> None:
        while self.loop.busy:
            self.loop.step()

    def vectors(self, request_id: int) -> NDArray[np.float32]:
        for message in self.said:
            if isinstance(message, messages.Embedded) and message.id == request_id:
                return np.frombuffer(message.result.vectors, "<f4").reshape(-1, Letters.dimension)
        raise AssertionError(f"{request_id} was not answered")

    def order(self) -> list[int]:
        return [message.id for message in self.said if isinstance(message, messages.Embedded)]


@pytest.fixture
def worker() -> Worker:
    return Worker()


def expected(*windows: str) -> NDArray[np.float32]:
    """The mean of the windows' unit vectors, weighted by their length with the special tokens."""
    total = np.zeros(Letters.dimension)
    for window in windows:
        counts = np.bincount([BEGIN, *window.encode(), END], minlength=Letters.dimension)
        total += counts / np.linalg.norm(counts) * (len(window) + 2)
    return total / np.linalg.norm(total)


def test_prompts_and_dimensions_of_the_settings(worker: Worker) -> None:
    worker.loop = EmbeddingLoop(
        worker.encoder,
        CoreLock(None),
        worker.said.append,
        prompts={"query": "q:", "document": None},
        dimensions=BEGIN,
    )
    worker.embed(1, "a", kind="query")
    worker.embed(2, "a", kind="document")
    worker.run()
    assert worker.loop.dimension == BEGIN
    found = {m.id: m.result for m in worker.said if isinstance(m, messages.Embedded)}
    for request, text in ((1, "q:a"), (2, "a")):
        assert found[request].dimension == BEGIN
        letters = np.bincount(list(text.encode()), minlength=BEGIN)  # the marks are cut away
        vector = np.frombuffer(found[request].vectors, "<f4")
        assert vector == pytest.approx(letters / np.linalg.norm(letters), abs=1e-6)
    with pytest.raises(LoadFailed, match="dimensions is 303, and the model's vectors have 302"):
        EmbeddingLoop(worker.encoder, CoreLock(None), worker.said.append, dimensions=303)


def test_vectors_are_in_order_whoever_shared_the_batch(worker: Worker) -> None:
    texts = ("a", "bbbbbbb", "cc", "", "dddddddd", "e")
    worker.embed(1, *texts)
    worker.embed(2, "zz", (122, 122))
    worker.run()
    assert worker.vectors(1) == pytest.approx(np.stack([expected(t) for t in texts]), abs=1e-6)
    assert worker.vectors(2) == pytest.approx(np.stack([expected("zz")] * 2), abs=1e-6)
    assert len(worker.encoder.passes) < 8, "nothing was batched"


def test_what_is_too_long_is_read_in_windows(worker: Worker) -> None:
    worker.embed(1, "aaaaaaaabbbbbbbbc")
    worker.run()
    whole = expected("a" * 8, "b" * 8, "c")
    assert worker.vectors(1)[0] == pytest.approx(whole, abs=1e-6)
    answer = worker.said[0]
    assert isinstance(answer, messages.Embedded)
    assert answer.result.token_counts == (19,)
    assert max(len(row) for batch in worker.encoder.passes for row in batch) == CONTEXT


def test_no_inputs_are_answered_at_once(worker: Worker) -> None:
    worker.embed(1)
    assert worker.vectors(1).shape == (0, Letters.dimension)
    assert not worker.loop.busy


def test_a_query_has_the_models_prompt_before_it(worker: Worker) -> None:
    worker.embed(1, "ab", kind="query")
    worker.run()
    assert worker.vectors(1)[0] == pytest.approx(expected("?ab"), abs=1e-6)


def test_a_later_text_does_not_wait_for_a_giant(worker: Worker) -> None:
    worker.embed(1, *["giant!!!"] * 2000)
    worker.loop.step()
    worker.embed(2, "small")
    worker.loop.step()
    worker.loop.step()
    assert worker.order() == [2]
    worker.run()
    assert worker.order() == [2, 1]


def test_tokenising_a_giant_holds_up_nobody(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "TOKENIZED_AT_ONCE", 20)
    worker.embed(1, *["giant!!!"] * 2000)
    worker.embed(2, "small")
    for _ in range(3):
        worker.loop.step()
    assert worker.order() == [2]
    worker.run()
    assert worker.order() == [2, 1]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of more than 100 characters are long ones."""
    monkeypatch.setattr(embedding, "TOKENIZED_AT_ONCE", 100)


LONG = "a long text; " * 10


def windows(text: str) -> list[str]:
    return [text[at : at + 8] for at in range(0, len(text), 8)]


@pytest.mark.usefixtures("short")
def test_while_a_long_text_is_tokenised_others_are_served_and_the_cores_are_free(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cores"
    worker = Worker(str(path))
    worker.encoder.hold = threading.Event()
    worker.embed(1, "before", LONG, "after")
    while not worker.encoder.held.is_set():
        worker.loop.step()
    worker.embed(2, "small")
    while worker.order() != [2]:
        worker.loop.step()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or it raises
    assert worker.loop.busy
    worker.encoder.hold.set()
    worker.run()
    assert worker.order() == [2, 1]
    assert worker.vectors(1)[1] == pytest.approx(expected(*windows(LONG)), abs=1e-6)
    assert worker.vectors(1)[2] == pytest.approx(expected("after"), abs=1e-6)
    assert [LONG] in worker.encoder.read


@pytest.mark.usefixtures("short")
def test_what_is_tokenised_between_two_passes_is_bounded(worker: Worker) -> None:
    worker.encoder.watch = lambda: between.append(len("".join(worker.encoder.read[-1])))
    between: list[int] = []
    worker.embed(1, *["x" * 99, "y", LONG, "z" * 60] * 3)
    worker.embed(2, *["tiny"] * 20)
    worker.run()
    assert sorted(worker.order()) == [1, 2]
    assert max(between) <= 100
    assert max(map(len, worker.encoder.read)) <= 3, "calls have a price too"


@pytest.mark.usefixtures("short")
def test_a_long_text_is_dropped_with_its_request(worker: Worker) -> None:
    worker.encoder.hold = threading.Event()
    worker.embed(1, LONG)
    worker.embed(2, LONG.upper())
    while not worker.encoder.held.is_set():
        worker.loop.step()
    worker.loop.cancel(1)
    worker.loop.cancel(2)  # which waited for the other
    assert not worker.loop.busy
    worker.embed(3, LONG.title())
    worker.encoder.hold.set()
    worker.run()
    assert worker.order() == [3]
    assert worker.encoder.read == [[LONG], [LONG.title()]]
    assert worker.vectors(3)[0] == pytest.approx(expected(*windows(LONG.title())), abs=1e-6)


@pytest.mark.usefixtures("short")
def test_long_texts_of_two_requests_take_turns(worker: Worker) -> None:
    worker.embed(1, *["1" * 101] * 3)
    worker.embed(2, "2" * 101)
    worker.run()
    assert [text[0] for (text,) in worker.encoder.read] == ["1", "2", "1", "1"]


def test_what_is_far_too_long_is_refused_before_it_is_tokenised(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x" * 20_001
    most = embedding.MAX_WINDOWS * 8
    with pytest.raises(InvalidRequest) as raised:
        worker.embed(1, "fine", text)
    assert str(raised.value) == f"Input 1 has 20001 characters; the most is {most}."
    assert raised.value.param == "input"
    with pytest.raises(InvalidRequest, match=f"The text has 20001 characters; the most is {most}"):
        worker.loop.tokenize(TokenizeRequest(TextPrompt(text)))
    with pytest.raises(InvalidRequest, match=f"Input 0 has 20001 tokens; the most is {most}"):
        worker.embed(2, (5,) * 20_001)
    # Where words are long, memory is the limit.
    monkeypatch.setattr(Letters, "longest_token", 10**6)
    other = Worker()
    with pytest.raises(InvalidRequest, match="Input 0 has 4000001 characters; the most is 4000000"):
        other.embed(1, "x" * 4_000_001)
    for each in (worker, other):
        assert not each.loop.busy
        assert not each.encoder.read
        each.embed(3, "fine")
        each.run()
        assert each.order() == [3]


def test_a_cancelled_request_costs_nothing_more(worker: Worker) -> None:
    worker.embed(1, *["gone"] * 100)
    worker.loop.step()
    worker.loop.cancel(1)
    worker.loop.cancel(1)
    before = len(worker.encoder.passes)
    worker.embed(2, "stays")
    worker.run()
    assert worker.order() == [2]
    assert len(worker.encoder.passes) == before + 1


def test_more_than_may_wait_is_refused_by_owner(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MAX_WAITING", 100)
    worker.embed(1, "x" * 300, owner="ann")  # alone: it can never be told to come back later
    with pytest.raises(QueueFull, match="300 characters already wait") as raised:
        worker.embed(2, "y", owner="ann")
    assert raised.value.retry_after_s >= 1
    worker.embed(3, "z", owner="bob")
    worker.run()
    assert sorted(worker.order()) == [1, 3]
    worker.embed(4, "y", owner="ann")  # nothing waits any more
    worker.embed(5, (121,) * 20, owner="ann")
    with pytest.raises(QueueFull):
        worker.embed(6, (121,) * 5, owner="ann")
    worker.loop.cancel(5)
    worker.embed(7, (121,) * 20, owner="ann")


def test_two_empty_texts_of_one_owner_are_embedded(worker: Worker) -> None:
    worker.embed(1, "", owner="ann")
    worker.embed(2, "", owner="ann")
    worker.run()
    assert sorted(worker.order()) == [1, 2]


def test_an_input_beyond_all_windows_fails_its_request_alone(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MAX_WINDOWS", 2)
    worker.embed(1, "fine", "x" * 17, "never read")
    worker.embed(2, "x" * 16)
    worker.run()
    failed = worker.said[0]
    assert isinstance(failed, messages.Failed)
    error = messages.error_of(failed)
    assert isinstance(error, InvalidRequest)
    assert str(error) == "Input 1 has 17 tokens; the most is 16."
    assert worker.order() == [2]


def test_ids_outside_the_vocabulary_are_refused(worker: Worker) -> None:
    for ids in ((-1,), (302,)):
        with pytest.raises(InvalidRequest, match=str(ids[0])) as raised:
            worker.embed(1, "fine", ids)
        assert raised.value.param == "input"
        with pytest.raises(InvalidRequest):
            worker.loop.detokenize(ids, special=False)
    assert not worker.loop.busy


def test_a_pass_that_fails_fails_who_was_in_it(worker: Worker) -> None:
    worker.encoder.broken = True
    worker.embed(1, "a")
    worker.loop.step()
    assert isinstance(worker.said[0], messages.Failed)
    worker.encoder.broken = False
    worker.embed(2, "b")
    worker.run()
    assert worker.order() == [2]


def test_it_computes_only_while_it_holds_the_cores(tmp_path: Path) -> None:
    path = tmp_path / "cores"
    worker = Worker(str(path))
    other = os.open(path, os.O_RDWR)

    def held() -> bool:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(other, fcntl.LOCK_UN)
        return False

    worker.encoder.watch = lambda: seen.append(held())
    seen: list[bool] = []
    worker.loop.probe()
    worker.embed(1, *["text"] * 50)
    worker.run()
    assert len(seen) > 5
    assert all(seen)
    assert not held()
    os.close(other)


def test_tokenising_puts_the_special_tokens_around_a_text(worker: Worker) -> None:
    tokens = worker.loop.tokenize(TokenizeRequest(TextPrompt("ab")))
    assert tokens == [BEGIN, 97, 98, END]
    assert worker.loop.detokenize(tuple(tokens), special=False) == "ab"
