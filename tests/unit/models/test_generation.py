"""The continuous-batching loop over a model made of arithmetic and the reference cache.

The next token is a function of every token the cache holds for a sequence, so an answer is right
only if sharing, cutting, preempting and recomputing never lost or mixed up a cell.
"""

import contextlib
import itertools
import queue
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import ContextOverflow, InvalidRequest, ModelError, QueueFull, Unsupported
from models.types import (
    ChatPrompt,
    Constraint,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Message,
    Prompt,
    Sampling,
    TextPrompt,
    TokenizeRequest,
    TokenLogprob,
    TokenPrompt,
    Tool,
    ToolCall,
)
from models.worker import (
    generation,
    intake,
    messages,
    parked,
    prompts,
    reader,
    reading,
    sizes,
    slots,
)
from models.worker import scheduler as scheduling
from models.worker.backend_sampling import Recipe
from models.worker.cores import CoreLock
from models.worker.fair_threads import Job
from models.worker.generation import GenerationLoop
from models.worker.llama import Rows
from models.worker.prefix import common_prefix
from models.worker.scheduler import Preempted
from models.worker.scheduler import Sequence as Running
from tests.unit.models.reference_cache import ReferenceCache

VOCABULARY = 40
END = VOCABULARY - 1
CONTEXT, CELLS, BATCH, PARALLEL = 48, 56, 8, 3
WORTH_WAITING, WORTH_PARKING = 6, 4
MOST_SCORED = 3  # given tokens in one batch
LEAST_APART, TURN_APART = 12, 10


def next_token(tokens: Sequence[int]) -> int:
    return zlib.crc32(bytes(tokens)) % VOCABULARY


def expected(prompt: Sequence[int], max_tokens: int) -> tuple[list[int], str]:
    """The answer, with no cache, batch or neighbour involved."""
    tokens = list(prompt)
    limit = min(CONTEXT, len(prompt) + max_tokens)
    while len(tokens) < limit:
        token = next_token(tokens)
        if token == END:
            return tokens[len(prompt) :], "stop"
        tokens.append(token)
    return tokens[len(prompt) :], "length"


@dataclass
class State:
    """A copy of a sequence; a hundred tokens fill the budget of one megabyte."""

    tokens: list[int]

    def __len__(self) -> int:
        return 10_000 * len(self.tokens)


class ArithmeticLlama:
    """Stands in for models.worker.llama.Llama."""

    chat_template = tool_template = None
    bos = eos = ""
    vocabulary = VOCABULARY
    end_tokens = frozenset({END})
    control_tokens = frozenset[int]()
    shares_prefixes = True
    draws = False  # tokens itself
    longest_piece = 100
    batch_bytes = 0

    def __init__(
        self, *_: object, sequences: int, split: bool, threads: int, cells: int = 0, **__: object
    ) -> None:
        self.context, self.sequences, self.split = CONTEXT, sequences, split
        self.kv_tokens = cells or (sequences * CONTEXT if split else CELLS)
        self.threads, self.computing = threads, threads
        self.reads_apart = threads > 1 and not split
        self.others: list[ArithmeticLlama] = []
        self.refuse_another = 0  # so many contexts cannot be made
        self.cache = ReferenceCache(self.kv_tokens, lambda sequence: self.owner_of(sequence))
        self.owner_of: Any = lambda sequence: "probe"
        self.refuse = 0  # so many decodes find no room
        self.refuse_restore = 0  # so many parked prefixes find no place
        self.refuse_cut = 0  # so many prefixes have lost a cell
        self.cleared = 0
        self.refuse_draw_by = 0  # so many requests cannot be set up
        self.drawn_by: dict[int, Recipe | None] = {}
        self.spoiled: list[int] = []  # a beginning after which no logit is a number
        self.refuse_save = 0  # so many copies find no memory
        self.refuse_take = 0  # so many prompts that were read apart have lost a cell
        self.restored = 0
        self.decoded = 0
        self._logits: NDArray[np.float32] = np.zeros((0, VOCABULARY), np.float32)

    def decode(self, rows: Sequence[Rows]) -> int:
        if self.refuse:
            self.refuse -= 1
            return 1
        total = sum(len(row.tokens) for row in rows)
        assert 0 < total <= BATCH
        sequences = [row.sequence for row in rows]
        assert sequences == sorted(set(sequences))
        self.decoded += total
        wanted: list[NDArray[np.float32]] = []
        for row in rows:
            assert 0 <= row.sequence < self.sequences
            self.cache.append(row.sequence, row.start, row.tokens)
            tokens = self.cache.tokens(row.sequence)
            for end in range(len(tokens) - row.logits, len(tokens)):
                logits = np.zeros(VOCABULARY, np.float32)
                logits[next_token(tokens[: end + 1])] = 100
                if self.spoiled and tokens[: len(self.spoiled)] == self.spoiled:
                    logits[:] = np.nan
                wanted.append(logits)
        assert len(wanted) <= self.sequences + MOST_SCORED
        self._logits = np.stack(wanted) if wanted else self._logits[:0]
        return 0

    def wait(self) -> None:
        pass

    def try_drawing(self) -> None:
        pass

    def draw_by(self, sequence: int, recipe: Recipe | None) -> None:
        if self.refuse_draw_by:
            self.refuse_draw_by -= 1
            raise RuntimeError("no such sampler")
        self.drawn_by[sequence] = recipe

    def drawn(self, row: int) -> int:
        if np.isnan(self._logits[row]).any():
            raise ModelError("The device drew no token.")
        return int(self._logits[row].argmax())

    def tokenize(self, text: str, **_: object) -> list[int]:
        assert text.startswith("given "), "counted"
        return [int(token) for token in text.split()[1:]]

    def logits(self, count: int) -> NDArray[np.float32]:
        assert count <= len(self._logits)
        return self._logits[:count]

    def share(self, source: int, target: int, length: int) -> bool:
        if self.split:
            return self.restore(target, self.save(source), length)
        self.cache.share(source, target, length)
        return self.cut(target, length)

    def cut(self, sequence: int, length: int) -> bool:
        if length and self.refuse_cut:
            self.refuse_cut -= 1
            length = -1
        self.cache.cut(sequence, max(length, 0))
        return length >= 0

    def holds(self, sequence: int, length: int) -> bool:
        if self.refuse_take:
            self.refuse_take -= 1
            return False
        return len(self.cache.tokens(sequence)) == length

    def grammar_tokenizer(self) -> None:
        raise ValueError("no end")

    def save(self, sequence: int, start: int = 0) -> "State":
        if self.refuse_save:
            self.refuse_save -= 1
            raise MemoryError
        return State(self.cache.tokens(sequence)[start:])

    def restore(self, sequence: int, state: "State", length: int) -> bool:
        if self.refuse_restore:
            self.refuse_restore -= 1
            return False
        self.restored += 1
        self.cache.append(sequence, 0, state.tokens)
        return self.cut(sequence, length)

    def append(self, sequence: int, state: "State", length: int) -> bool:
        if self.refuse_restore:
            self.refuse_restore -= 1
            self.cache.cut(sequence, 0)
            return False
        self.cache.append(sequence, length - len(state.tokens), state.tokens)
        return True

    def use_threads(self, count: int) -> None:
        self.computing = count

    def another(self, cells: int) -> "ArithmeticLlama | None":
        if self.refuse_another:
            self.refuse_another -= 1
            return None
        made = ArithmeticLlama(sequences=1, split=False, threads=self.threads, cells=cells)
        self.others.append(made)
        return made

    def clear(self) -> None:
        self.cleared += 1
        self.cache.cells.clear()

    def piece(self, token: int) -> bytes:
        return b"%d " % token

    special_piece = piece

    def special_text(self, token: int) -> str:
        return ""

    def segments(self, text: str) -> list[str | int]:
        return [text]


class Late(Future[Any]):
    """Done long since, but seen to be so at a later look only."""

    looks = 0

    def done(self) -> bool:
        self.looks -= 1
        return self.looks < 0


class LateThread:
    """Does at once what it is given."""

    def __init__(self, *_: object) -> None:
        self._looks = itertools.cycle([0, 7, 30])

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Late:
        late = Late()
        late.set_result(call(*arguments))
        late.looks = next(self._looks)
        return late


def see(futures: Iterable[Late], *_: object) -> None:
    """Wait for the first of them."""
    for late in itertools.islice(futures, 1):
        late.looks = 0


@dataclass
class Answer:
    text: str = ""
    end: GenerateEnd | None = None
    error: messages.Failed | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Bench:
    """A loop, what it said, and a watch over each of its steps."""

    def __init__(
        self,
        parallel: int = PARALLEL,
        max_waiting: int = 1000,
        kv: str = "unified",
        prefix_scope: str = "owner",
        prefix_cache_mb: int = 1,
        threads: int = 1,
    ) -> None:
        spec = messages.WorkerSpec(
            model="m",
            kind="chat",
            path="",
            threads=threads,
            parallel=parallel,
            max_waiting=max_waiting,
            prefix_cache_mb=prefix_cache_mb,
            kv=kv,
            prefix_scope=prefix_scope,
        )
        self.answers: dict[int, Answer] = {}
        self.prompts: dict[int, tuple[list[int], int]] = {}
        self.given: dict[int, list[int]] = {}  # answers that are only scored
        self.loop = GenerationLoop(spec, self._hear)
        self.loop.probe()
        self.llama: Any = self.loop._llama
        self.scheduler = self.loop._scheduler
        self.llama.owner_of = self._owner_of
        self.placed: list[int] = []
        self.preempted = 0
        self._count = 0
        self._watch()

    def submit(
        self,
        prompt: list[int],
        max_tokens: int = 8,
        owner: str = "ann",
        alone: bool = False,
        flex: bool = False,
        given: Sequence[int] = (),
    ) -> int:
        self._count += 1
        sampling = Sampling(temperature=0)
        request = GenerateRequest(
            TokenPrompt(tuple(prompt)),
            max_tokens=max_tokens,
            sampling=sampling,
            owner=owner,
            flex=flex,
            deterministic=alone,
            continuation=f"given {' '.join(map(str, given))}" if given else "",
        )
        if given:
            self.given[self._count] = list(given)
        self.loop.generate(messages.Generate(self._count, request))
        self.answers[self._count] = Answer()
        self.prompts[self._count] = (prompt, max_tokens)
        return self._count

    def cancel(self, request: int) -> None:
        self.loop.cancel(request)
        self.answers.pop(request, None)
        self._check()

    def step(self) -> None:
        if self.loop.busy:
            self.loop.step()
            self._check()

    def finish(self) -> None:
        """Run until nothing is left to do, within what the work could cost at its very worst."""
        work = sum(len(prompt) + wanted for prompt, wanted in self.prompts.values())
        for _ in range(20 + 10 * work):
            if not self.loop.busy:
                return
            self.step()
        raise AssertionError("somebody starves")

    def check_answer(self, request: int) -> None:
        prompt, wanted = self.prompts[request]
        answer = self.answers[request]
        tokens, reason = expected(prompt, wanted)
        assert answer.error is None
        assert answer.end is not None
        assert 0 <= answer.end.usage.cached_tokens < len(prompt)
        if request in self.given:
            self._check_scores(prompt, self.given[request], answer)
            return
        assert [int(word) for word in answer.text.split()] == tokens
        assert answer.end.reason == reason
        assert answer.end.usage.prompt_tokens == len(prompt)
        assert answer.end.usage.completion_tokens == len(tokens)

    def _check_scores(self, prompt: list[int], given: list[int], answer: Answer) -> None:
        assert [int(word) for word in answer.text.split()] == given
        assert answer.end is not None
        assert answer.end.reason == "stop"
        assert answer.end.usage.prompt_tokens == len(prompt) + len(given)
        assert answer.end.usage.completion_tokens == 0
        likeliest = [next_token([*prompt, *given[:at]]) for at in range(len(given))]
        scores = [0.0 if a == b else -100.0 for a, b in zip(given, likeliest, strict=True)]
        assert [each.logprob for each in answer.logprobs] == pytest.approx(scores, abs=1e-3)

    def check_answer_of(self, request: int) -> None:
        """Run it, with whatever else there is, and look at its answer."""
        self.finish()
        self.check_answer(request)

    def check_all_free(self) -> None:
        assert self.scheduler.running == []
        assert not self.scheduler.waiting
        assert self.loop._cores._held == 0
        slots = self.scheduler.slots
        for _ in range(self.llama.sequences):
            assert slots.take([0], "someone new") is not None
        assert slots.take([0], "someone new") is None

    def cached(self, request: int) -> int:
        end = self.answers[request].end
        assert end is not None
        return end.usage.cached_tokens

    def _hear(self, message: messages.FromWorker) -> None:
        if isinstance(message, messages.Failed):
            self.answers.setdefault(message.id, Answer()).error = message
            return
        assert isinstance(message, messages.Step)
        for request, delta in message.deltas:
            answer = self.answers[request]
            assert answer.end is None, "something after the end"
            answer.text += delta.text
            answer.end = delta.end
            answer.logprobs += delta.logprobs

    def _owner_of(self, slot: int) -> str:
        (scope,) = (s.scope for s in self.scheduler.running if s.slot == slot)
        return scope

    def _watch(self) -> None:
        admit, preempt = self.scheduler.admit, self.scheduler.preempt

        def watched_admit() -> Any:
            waiting = list(self.scheduler.waiting)
            for event in admit():
                yield event
                if isinstance(event, Preempted):
                    assert event.sequence.flex
                    self.preempted += 1
                    continue
                sequence = event.sequence
                self.placed.append(sequence.id)
                for other in waiting:
                    if (
                        other.arrival < sequence.arrival
                        and (other.owner, other.flex) == (sequence.owner, sequence.flex)
                        and other in self.scheduler.waiting
                    ):
                        assert not other.alone
                        assert self._waits_for_a_prefill(other)

        def watched_preempt() -> Any:
            victim = max(self.scheduler.running, key=lambda s: (s.flex, s.arrival))
            found = preempt()
            assert found is None or found.sequence is victim
            self.preempted += found is not None
            return found

        self.scheduler.admit, self.scheduler.preempt = watched_admit, watched_preempt

    def _waits_for_a_prefill(self, waiting: Running) -> bool:
        return any(
            running.scope == waiting.scope
            and running.past < running.prompt_length
            and common_prefix(running.tokens, waiting.tokens) >= WORTH_WAITING
            for running in self.scheduler.running
        )

    def _check(self) -> None:
        slots = self.scheduler.slots
        cells = self.llama.cache.cells
        assert slots.free_cells == self.llama.kv_tokens - len(cells)
        taken = [s.slot for s in self.scheduler.running]
        assert None not in taken
        assert len(set(taken)) == len(taken) <= self.scheduler.parallel
        idle = [cell for cell in cells if not cell.sequences & set(taken)]
        assert slots.idle_cells == len(idle)
        assert len({n for cell in idle for n in cell.sequences}) <= 1
        assert not any(s.alone for s in self.scheduler.running) or len(cells) == sum(
            s.past for s in self.scheduler.running
        )
        for sequence in self.scheduler.running:
            assert self.llama.cache.tokens(sequence.slot) == sequence.tokens[: sequence.past]
        ids = {s.id for s in [*self.scheduler.running, *self.scheduler.waiting]}
        assert ids == {n for n, a in self.answers.items() if a.end is None and a.error is None}


@contextlib.contextmanager
def small_world() -> Iterator[None]:
    with (
        mock.patch.multiple(
            generation,
            Llama=ArithmeticLlama,
            BATCH=BATCH,
        ),
        mock.patch.object(scheduling, "WORTH_WAITING", WORTH_WAITING),
        mock.patch.object(scheduling, "SCORED_ROWS", MOST_SCORED),
        mock.patch.multiple(scheduling, LEAST_APART=LEAST_APART, TURN_APART=TURN_APART),
        mock.patch.multiple(
            reading, BATCH=BATCH, LEAST_APART=LEAST_APART, CELLS=1, ENOUGH=20, wait_for=see
        ),
        mock.patch.object(reader, "ThreadPoolExecutor", LateThread),
        mock.patch.object(parked, "WORTH_PARKING", WORTH_PARKING),
        mock.patch.object(slots, "WORTH_RESTORING", WORTH_PARKING),
    ):
        yield


@pytest.fixture
def world() -> Iterator[None]:
    with small_world():
        yield


# Few beginnings, so that prompts share prefixes of every length.
random_prompts = st.builds(
    lambda stem, cut, tail: ([*range(stem, stem + 30)][:cut] + tail) or [0],
    st.integers(0, 2),
    st.integers(0, 30),
    st.lists(st.integers(0, 3), max_size=10),
)
submits = st.tuples(
    st.just("submit"),
    random_prompts,
    st.integers(1, 40),
    st.sampled_from(["ann", "ann", "bob"]),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
    st.one_of(st.just([]), st.lists(st.integers(0, VOCABULARY - 1), max_size=7)),
)
actions = st.one_of(
    submits,
    submits,
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("refuse a restore")),
    st.tuples(st.just("lose a cell")),
    st.tuples(st.just("lose what was read")),
)


# A preempted request went ahead of an older one that waited for a prefill.
@example(
    [
        ("submit", list(range(2, 18)), 10, "ann"),
        ("submit", [0, 0, 0, 0, 0], 10, "ann"),
        ("submit", [*range(2, 21), 0, 0, 0], 1, "ann"),
        ("submit", [*range(11), 0, 0, 0], 7, "bob"),
    ],
    "unified",
    "owner",
    1,
)
@settings(max_examples=400)
@given(
    st.lists(actions, min_size=1, max_size=25),
    st.sampled_from(["unified", "split"]),
    st.sampled_from(["owner", "global"]),
    st.sampled_from([1, 2, 2, 5]),
)
def test_any_traffic_gives_every_request_its_own_answer(
    plan: list[tuple[Any, ...]], kv: str, prefix_scope: str, threads: int
) -> None:
    with small_world():
        bench = Bench(kv=kv, prefix_scope=prefix_scope, threads=threads)
        for name, *arguments in plan:
            if name == "submit":
                bench.submit(*arguments)
            elif name == "cancel":
                live = [n for n, answer in bench.answers.items() if answer.end is None]
                if live:
                    bench.cancel(live[arguments[0] % len(live)])
            elif name == "step":
                for _ in range(arguments[0]):
                    bench.step()
            elif name == "lose a cell":
                bench.llama.refuse_cut = 1
            elif name == "lose what was read":
                for other in bench.llama.others:
                    other.refuse_take = 1
            else:
                bench.llama.refuse_restore = 1
        bench.finish()
        for request in bench.answers:
            bench.check_answer(request)
        bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_preempted_work_is_recomputed_with_the_same_tokens() -> None:
    bench = Bench()
    # No END within 26 tokens: three sequences of 38 do not fit 56 cells.
    starts = [n for n in range(200) if END not in expected([n % 39, n // 39, 7] * 4, 26)[0]]
    wanted = [
        prompt
        for prompt in ([n % 39, n // 39, 7] * 4 for n in starts)
        if len(expected(prompt, 26)[0]) == 26
    ][:3]
    requests = [bench.submit(prompt, 26) for prompt in wanted]
    bench.finish()
    assert bench.preempted > 0
    for request in requests:
        bench.check_answer(request)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_an_answer_that_is_given_is_scored_though_its_tokens_are_in_the_cache() -> None:
    bench = Bench()
    prompt = list(range(10))
    drawn = bench.submit(prompt, 12)
    bench.check_answer_of(drawn)
    tokens, _ = expected(prompt, 12)
    given = bench.submit(prompt, given=[*tokens, 5, 6])
    bench.check_answer_of(given)
    assert bench.cached(given) == len(prompt) - 1
    bench.check_answer_of(bench.submit([*prompt, *tokens], 5))


@pytest.mark.usefixtures("world")
def test_an_answer_that_is_given_must_fit_the_context() -> None:
    bench = Bench()
    with pytest.raises(ContextOverflow, match="48 tokens"):
        bench.submit([1] * 40, given=[2] * 8)
    bench.check_answer_of(bench.submit([1] * 40, given=[2] * 7))


@pytest.mark.usefixtures("world")
def test_a_second_identical_prompt_waits_for_the_first_ones_prefill() -> None:
    bench = Bench()
    prompt = list(range(30))
    first, second = bench.submit(prompt, 4), bench.submit(prompt, 4)
    bench.step()
    assert bench.placed == [first]
    before = bench.llama.decoded
    bench.finish()
    for request in (first, second):
        bench.check_answer(request)
    assert bench.cached(first) == 0
    # For less than WORTH_WAITING it does not wait on.
    assert bench.cached(second) > 29 - WORTH_WAITING
    assert bench.llama.decoded - before <= (30 - BATCH) + WORTH_WAITING + 2 * 4


@pytest.mark.usefixtures("world")
def test_another_owner_neither_waits_nor_reuses() -> None:
    bench = Bench()
    prompt = list(range(20))
    first, second = bench.submit(prompt, 4, "ann"), bench.submit(prompt, 4, "bob")
    bench.step()
    assert bench.placed == [first, second]
    bench.finish()
    third = bench.submit(prompt, 4, "cid")
    bench.finish()
    for request in (first, second, third):
        bench.check_answer(request)
        assert bench.cached(request) == 0


@pytest.mark.usefixtures("world")
def test_an_unrelated_request_overtakes_one_that_waits_for_a_prefix() -> None:
    bench = Bench()
    prompt = list(range(20))
    first, second = bench.submit(prompt, 2), bench.submit(prompt, 2)
    third = bench.submit([5, 5], 2)
    bench.step()
    assert bench.placed == [first, third]
    bench.finish()
    assert bench.placed == [first, third, second]


@pytest.mark.usefixtures("world")
def test_cancelling_the_one_that_prefills_hands_its_work_to_the_one_that_waited() -> None:
    bench = Bench()
    prompt = list(range(30))
    first, second = bench.submit(prompt, 4), bench.submit(prompt, 4)
    bench.step()
    bench.cancel(first)
    bench.finish()
    bench.check_answer(second)
    assert bench.cached(second) == BATCH


@pytest.mark.usefixtures("world")
def test_streams_keep_going_beside_a_long_prefill() -> None:
    bench = Bench()
    stream = next([n, n // 2] for n in range(39) if len(expected([n, n // 2], 20)[0]) == 20)
    first = bench.submit(stream, 20)
    bench.step()
    second = bench.submit(list(range(30)), 2)
    while bench.answers[second].text == "" and bench.loop.busy:
        before = bench.answers[first].text
        bench.step()
        assert len(bench.answers[first].text) > len(before)
    bench.finish()


def stream_of(tokens: int) -> list[int]:
    """A prompt of two tokens whose answer is so long at least."""
    return next([n, n // 2] for n in range(39) if len(expected([n, n // 2], tokens)[0]) == tokens)


def company(bench: Bench) -> int:
    """Somebody who streams: alone, a long prompt goes in whole batches."""
    request = bench.submit(stream_of(25), 25, owner="cid")
    bench.step()
    return request


@pytest.mark.usefixtures("world")
def test_a_stream_gets_a_token_in_every_step_while_a_long_prompt_is_read_apart() -> None:
    bench = Bench(threads=2)
    first = company(bench)
    second = bench.submit(list(range(38, 14, -1)), 2)
    cores: list[int] = []
    while not bench.answers[second].text:
        before, decoded = len(bench.answers[first].text), bench.llama.decoded
        bench.step()
        cores.append(bench.llama.computing)
        assert len(bench.answers[first].text) > before
        assert bench.llama.decoded - decoded <= 2  # nothing else of the prompt than its end
    assert cores.count(1) > 3
    (apart,) = bench.llama.others
    assert apart.decoded == 23
    assert apart.computing == 1
    bench.finish()
    for request in (first, second):
        bench.check_answer(request)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_two_long_prompts_are_read_at_once_by_half_the_cores_each() -> None:
    bench = Bench(threads=4)
    before = bench.llama.decoded
    requests = [bench.submit([n, *range(20)], 2) for n in (30, 31)]
    bench.step()
    assert [other.computing for other in bench.llama.others] == [2, 2]
    bench.finish()
    assert bench.llama.decoded - before <= 2 * 2
    assert sum(other.decoded for other in bench.llama.others) == 2 * 20
    assert all(bench.cached(request) == 0 for request in requests)
    for request in requests:
        bench.check_answer(request)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("wanted", [True, False])
def test_two_readers_give_the_cores_back_together_while_others_want_them(wanted: bool) -> None:
    bench = Bench(threads=4)
    for n in (30, 31):
        bench.submit([n, *range(24)], 1)
    cores = bench.loop._cores
    release, left = cores.release, list[int]()

    def watched() -> None:
        release()
        left.append(cores._held)

    with (
        mock.patch.object(CoreLock, "wanted", wanted),
        mock.patch.object(cores, "release", watched),
    ):
        while not any(answer.text for answer in bench.answers.values()):
            bench.step()
    assert (left[:4] == [1, 0, 1, 0]) == wanted
    bench.finish()


@pytest.mark.usefixtures("world")
def test_who_has_the_same_long_prompt_waits_for_it_to_be_read_apart() -> None:
    bench = Bench(parallel=4, threads=2)
    company(bench)
    prompt = list(range(24))
    requests = [bench.submit(prompt, 3) for _ in range(3)]
    bench.finish()
    assert sum(other.decoded for other in bench.llama.others) == 23
    assert [bench.cached(request) for request in requests] == [0, 23, 23]


@pytest.mark.usefixtures("world")
def test_a_short_prompt_does_not_wait_for_the_long_one_that_it_begins_like() -> None:
    bench = Bench(threads=2)
    company(bench)
    long = bench.submit(list(range(25)), 2)
    bench.step()
    short = bench.submit([*range(7), 30], 2)
    bench.step()
    bench.step()  # of a batch of eight, one is the stream's
    assert bench.answers[short].text
    assert not bench.answers[long].text
    bench.finish()
    bench.check_answer(long)


@pytest.mark.usefixtures("world")
def test_what_is_known_of_a_prompt_is_not_read_again() -> None:
    bench = Bench(threads=2, prefix_cache_mb=2)
    park(bench, list(range(8)))
    company(bench)
    assert bench.llama.others == []
    request = bench.submit([*range(8), *range(20, 36)], 2)
    bench.check_answer_of(request)
    assert bench.cached(request) == 8
    assert [other.decoded for other in bench.llama.others] == [15]


@pytest.mark.usefixtures("world")
def test_a_prompt_that_is_cancelled_while_it_is_read_leaves_nothing() -> None:
    bench = Bench(threads=2)
    stream = company(bench)
    request = bench.submit(list(range(24)), 2)
    bench.step()
    assert [other.decoded for other in bench.llama.others] == [BATCH]
    bench.cancel(request)
    bench.check_answer_of(bench.submit(list(range(5, 29)), 2))
    bench.check_answer(stream)
    requests = [company(bench), bench.submit(list(range(6, 30)), 2)]
    bench.step()
    for request in requests:
        bench.cancel(request)
    assert bench.loop.busy  # it holds the cores, which nobody else would give back
    bench.finish()
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_what_cannot_be_read_apart_is_decoded_with_the_others() -> None:
    bench = Bench(threads=2)
    bench.llama.refuse_another = 1
    company(bench)
    bench.check_answer_of(bench.submit(list(range(24)), 2))
    assert bench.llama.others == []
    for refused in ("refuse_take", "refuse"):
        failing = Bench(threads=2)
        company(failing)
        request = failing.submit(list(range(24)), 2)
        failing.step()
        (apart,) = failing.llama.others
        before = failing.llama.decoded
        setattr(apart, refused, 1)
        failing.check_answer_of(request)
        assert failing.llama.decoded - before >= 24


@pytest.mark.usefixtures("world")
def test_a_prompt_that_there_is_no_memory_to_copy_is_decoded_where_it_is() -> None:
    bench = Bench(threads=2)
    first = bench.submit(list(range(25)), 2)
    bench.step()
    second = bench.submit([30, 31], 2)
    bench.llama.refuse_save = 1
    bench.step()
    assert bench.llama.refuse_save == 0
    bench.finish()
    assert [other.decoded for other in bench.llama.others] == [0]
    for request in (first, second):
        bench.check_answer(request)


@pytest.mark.usefixtures("world")
def test_what_is_deterministic_computes_with_all_cores_whatever_is_still_being_read() -> None:
    bench = Bench(threads=2)
    requests = [company(bench), bench.submit(list(range(24)), 2)]
    while bench.loop._reading.threads != 1:
        bench.step()
    for request in requests:
        bench.cancel(request)
    alone = bench.submit(list(range(5)), 3, alone=True)
    while not bench.answers[alone].end:
        bench.step()
        assert bench.llama.computing == 2
    bench.check_answer(alone)


@pytest.mark.usefixtures("world")
def test_alone_a_long_prompt_goes_in_whole_batches_until_somebody_comes() -> None:
    bench = Bench(threads=2)
    first = bench.submit(list(range(25)), 2)
    bench.step()
    assert bench.llama.others == []
    second = bench.submit([30, 31], 2)
    bench.finish()
    assert [other.decoded for other in bench.llama.others] == [24 - BATCH]
    for request in (first, second):
        bench.check_answer(request)
        assert bench.cached(request) == 0


def park(bench: Bench, prompt: list[int]) -> None:
    """Let a prompt be seen."""
    bench.check_answer_of(bench.submit(prompt, 1))
    assert not bench.llama.cache.cells


@pytest.mark.usefixtures("world")
def test_a_prompt_seen_before_comes_back_without_a_prefill() -> None:
    bench = Bench()
    prompt = list(range(20))
    park(bench, prompt)
    before = bench.llama.decoded
    again = bench.submit(prompt, 1)
    bench.check_answer_of(again)
    assert (bench.cached(again), bench.llama.restored) == (19, 1)
    assert bench.llama.decoded - before == 1


@pytest.mark.usefixtures("world")
def test_a_prompt_that_cannot_be_brought_back_is_prefilled_and_said_so() -> None:
    bench = Bench()
    prompt = list(range(20))
    park(bench, prompt)
    bench.llama.refuse_restore = 1
    # The second is placed in the same step and may share only what the first really holds.
    first, second = bench.submit(prompt, 1), bench.submit(prompt[:15], 1)
    bench.finish()
    bench.check_answer(first)
    bench.check_answer(second)
    assert bench.cached(first) == 0


@pytest.mark.usefixtures("world")
def test_nobody_is_served_from_what_another_owner_parked() -> None:
    bench = Bench()
    park(bench, list(range(20)))
    other = bench.submit(list(range(20)), 1, "eve")
    bench.check_answer_of(other)
    assert bench.cached(other) == 0


@pytest.mark.usefixtures("world")
def test_a_cache_that_finds_no_room_costs_no_answer() -> None:
    bench = Bench()
    requests = [bench.submit([n, n, n], 10) for n in range(3)]
    bench.step()
    bench.llama.refuse = 2
    bench.finish()
    for request in requests:
        bench.check_answer(request)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_a_lone_request_that_finds_no_room_fails_and_the_next_works() -> None:
    bench = Bench()
    first = bench.submit([1, 2, 3], 10)
    bench.llama.refuse = 1
    bench.finish()
    assert bench.answers[first].error is not None
    second = bench.submit([1, 2, 3], 10)
    bench.finish()
    bench.check_answer(second)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("step_first", [False, True])
def test_the_queue_has_an_end(step_first: bool) -> None:
    bench = Bench(parallel=2, max_waiting=3)
    accepted = [bench.submit([n], 30) for n in range(2)]
    if step_first:  # the same whether they have begun or come all at once
        bench.step()
    accepted += [bench.submit([n], 30) for n in range(2, 5)]
    with pytest.raises(QueueFull) as raised:
        bench.submit([9], 30)
    assert raised.value.retry_after_s > 0
    bench.finish()
    for request in accepted:
        bench.check_answer(request)


@pytest.mark.usefixtures("world")
def test_the_queue_has_an_end_also_when_cells_and_not_sequences_are_short() -> None:
    bench = Bench(parallel=3, max_waiting=2)
    for n in range(3 + 2):
        bench.submit([n] * 40, 2)
        bench.step()
    assert len(bench.scheduler.running) < 3
    with pytest.raises(QueueFull):
        bench.submit([9] * 40, 2)


@pytest.mark.usefixtures("world")
def test_a_cancelled_request_is_no_longer_counted() -> None:
    heard: list[messages.FromWorker] = []
    bench = Bench()
    request = bench.submit([1, 2], 30)
    bench.step()
    bench.loop._send = heard.append
    bench.cancel(request)
    assert heard == [messages.Step((), 0, 0)]


@pytest.mark.usefixtures("world")
def test_prompts_that_cannot_be_served_are_refused() -> None:
    bench = Bench()
    with pytest.raises(ContextOverflow) as raised:
        bench.submit([1] * CONTEXT)
    assert (raised.value.prompt_tokens, raised.value.context) == (CONTEXT, CONTEXT)
    with pytest.raises(InvalidRequest):
        bench.submit([])
    for token in (-1, VOCABULARY):
        with pytest.raises(InvalidRequest, match=str(token)):
            bench.submit([token])
    assert not bench.loop.busy
    fits = bench.submit([1] * (CONTEXT - 1), 40)
    bench.finish()
    bench.check_answer(fits)


WORDS = "word " * 60_000
FAR_TOO_LONG: dict[str, tuple[Prompt, str]] = {
    "text": (TextPrompt(WORDS), "prompt"),
    "message": (ChatPrompt((Message("user", WORDS),)), "messages"),
    "messages": (ChatPrompt((Message("user", WORDS[:100_000]),) * 3), "messages"),
    "empty messages": (ChatPrompt((Message("user", ""),) * 10_000), "messages"),
    "reasoning": (ChatPrompt((Message("assistant", "", reasoning=WORDS),)), "messages"),
    "name": (ChatPrompt((Message("user", "", name=WORDS),)), "messages"),
    "arguments": (
        ChatPrompt((Message("assistant", "", (ToolCall("1", "f", WORDS),)),)),
        "messages",
    ),
    "tool": (ChatPrompt((Message("user", "Hi"),), (Tool("f", "", WORDS),)), "tools"),
    "description": (ChatPrompt((Message("user", "Hi"),), (Tool("f", WORDS, "{}"),)), "tools"),
    "variable": (
        ChatPrompt((Message("user", "Hi"),), variables=(("note", WORDS),)),
        "chat_template_kwargs",
    ),
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", FAR_TOO_LONG)
def test_a_prompt_far_too_long_is_refused_by_its_size_before_it_is_counted(name: str) -> None:
    bench = Bench()  # whose model fails when it is asked to count
    render = bench.loop._prompts._template.render = mock.Mock(side_effect=AssertionError)
    prompt, param = FAR_TOO_LONG[name]
    with pytest.raises(ContextOverflow, match=r"at least \d+ tokens.*48") as raised:
        bench.loop.generate(messages.Generate(1, GenerateRequest(prompt)))
    assert raised.value.param == param
    assert raised.value.prompt_tokens >= (10_000 if name == "empty messages" else 3000)
    assert raised.value.context == CONTEXT
    render.assert_not_called()
    with pytest.raises(AssertionError):  # so it would have been noticed
        bench.loop.generate(
            messages.Generate(1, GenerateRequest(ChatPrompt((Message("user", ""),))))
        )


@pytest.mark.usefixtures("world")
def test_tools_that_fill_the_context_are_what_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(ArithmeticLlama, "tokenize", lambda *_, **__: [1] * CONTEXT)
    prompt = ChatPrompt((Message("user", "Hi"),), (Tool("f", "word " * CONTEXT, "{}"),))
    with pytest.raises(ContextOverflow, match=f"holds {CONTEXT}") as raised:
        bench.loop.generate(messages.Generate(1, GenerateRequest(prompt)))
    assert raised.value.param == "tools"


class NoIds(tuple[int, ...]):
    """As many ids as one likes, none of which may be looked at."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("looked at")


@pytest.mark.usefixtures("world")
def test_ids_past_the_context_are_refused_by_their_number() -> None:
    bench = Bench()
    request = GenerateRequest(TokenPrompt(NoIds([-1] * 1000)))
    with pytest.raises(ContextOverflow, match="has 1000 tokens") as raised:
        bench.loop.generate(messages.Generate(1, request))
    assert raised.value.param == "prompt"


@pytest.mark.usefixtures("world")
def test_more_than_is_tokenised_or_spelled_at_once_is_refused() -> None:
    bench = Bench()
    text = "x" * (sizes.TOKENIZED_AT_MOST + 1)
    chat = ChatPrompt((Message("user", text),))
    for prompt, param in ((TextPrompt(text), "content"), (chat, "messages")):
        with pytest.raises(InvalidRequest, match=r"40000\d\d") as raised:
            bench.loop.tokenize(TokenizeRequest(prompt))
        assert raised.value.param == param
    with pytest.raises(AssertionError, match="counted"):
        bench.loop.tokenize(TokenizeRequest(TextPrompt(text[1:])))
    ids = (0,) * (sizes.SPELLED_AT_MOST + 1)
    for ask in (bench.loop.spell, lambda ids: bench.loop.detokenize(ids, special=False)):
        with pytest.raises(InvalidRequest, match="1000001") as raised:
            ask(ids)
        assert raised.value.param == "tokens"
    assert bench.loop.detokenize((1, 2), special=False) == "1 2 "
    for wrong in (-1, VOCABULARY):
        with pytest.raises(InvalidRequest, match=str(wrong)):
            bench.loop.detokenize((1, wrong, 2), special=False)


@pytest.mark.usefixtures("world")
def test_copies_of_a_prompt_are_rendered_and_counted_once_for_their_owner() -> None:
    bench = Bench()
    counted = bench.llama.tokenize = mock.Mock(side_effect=lambda text, **_: [len(text)])
    now = 100.0

    def ask(number: int, text: str, owner: str = "ann") -> int:
        before = counted.call_count
        prompt = ChatPrompt((Message("user", text),))
        request = GenerateRequest(prompt, 3, Sampling(temperature=0), owner=owner)
        bench.loop.generate(messages.Generate(number, request))
        bench.answers[number] = Answer()
        return counted.call_count - before

    with mock.patch.object(prompts.time, "monotonic", side_effect=lambda: now):
        assert [ask(n, "Hi") for n in (1, 2, 3)] == [1, 0, 0]
        assert ask(4, "Hello") == 1
        assert ask(5, "Hello", "bob") == 1
        assert ask(6, "Hello", "bob") == 0
        now += prompts.REMEMBERED_S + 1  # a template may have written the time
        assert ask(7, "Hello", "bob") == 1
    bench.finish()
    texts = [bench.answers[n].text for n in range(1, 8)]
    assert texts[0] == texts[1] == texts[2] != texts[3]
    assert len(set(texts[3:])) == 1


def logprobs_of(bench: Bench, **options: Any) -> tuple[list[bytes], str]:
    """The tokens whose log probabilities one answer reported, and its text."""
    said: list[GenerateDelta] = []
    hear = bench.loop._send

    def listen(message: messages.FromWorker) -> None:
        if isinstance(message, messages.Step):
            said.extend(delta for _, delta in message.deltas)

    bench.loop._send = listen
    request = GenerateRequest(
        TokenPrompt((1, 2, 3)), sampling=Sampling(temperature=0, logprobs=2), **options
    )
    bench.loop.generate(messages.Generate(1, request))
    while bench.loop.busy:
        bench.loop.step()
    bench.loop._send = hear
    found = [each for delta in said for each in delta.logprobs]
    assert all(each.top[0][0] == each.piece and len(each.top) == 2 for each in found)
    return [each.piece for each in found], "".join(delta.text for delta in said)


@pytest.mark.usefixtures("world")
def test_log_probabilities_come_with_the_text_of_their_tokens() -> None:
    pieces, text = logprobs_of(Bench(), max_tokens=6)
    assert text
    assert b"".join(pieces).decode() == text


@pytest.mark.usefixtures("world")
def test_no_log_probabilities_are_reported_of_what_a_stop_string_cut_off() -> None:
    whole, _ = logprobs_of(Bench(), max_tokens=6)
    stop = (whole[2] + whole[3]).decode().strip()
    pieces, text = logprobs_of(Bench(), max_tokens=6, stop=(stop,))
    assert text == b"".join(whole[:2]).decode()
    assert pieces == whole[:2]


GRAMMAR = Constraint("lark", "start: /x/")


@pytest.mark.usefixtures("world")
def test_requests_that_wait_for_grammars_are_bounded_too() -> None:
    bench = Bench(max_waiting=2)
    grammars: Any = bench.loop._intake._grammars
    grammars.compile = mock.Mock(side_effect=lambda *_: Job(mock.Mock(), ["local"]))
    request = GenerateRequest(TokenPrompt((1, 2)), constraint=GRAMMAR)
    for number in (1, 2):
        bench.loop.generate(messages.Generate(number, request))
    with pytest.raises(QueueFull):
        bench.loop.generate(messages.Generate(3, request))
    bench.loop.cancel(1)
    bench.loop.generate(messages.Generate(4, request))


class SlowGrammars:
    """Compiles in a bench nothing until it is let to."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.begun: queue.Queue[str] = queue.Queue()
        self.go_on = threading.Event()
        bench.loop._intake._grammars._compile = self._compile
        self.ids = itertools.count(1)

    def ask(self, text: str, owner: str = "ann") -> int:
        number = next(self.ids)
        constraint = Constraint("lark", text)
        request = GenerateRequest(TokenPrompt((1, 2)), constraint=constraint, owner=owner)
        self.bench.loop.generate(messages.Generate(number, request))
        return number

    def settle(self) -> None:
        """Let all be compiled."""
        self.go_on.set()
        while self.bench.loop.busy:
            self.bench.loop.step()

    def _compile(self, constraint: Any, _: object) -> Any:
        self.begun.put(constraint.grammar)
        assert self.go_on.wait(60)
        raise Unsupported(f"{constraint.grammar} is done", "grammar")


@pytest.fixture
def slow(world: None) -> Iterator[SlowGrammars]:
    found = SlowGrammars(Bench(max_waiting=5))
    yield found
    found.go_on.set()


def errors(bench: Bench) -> dict[int, tuple[str, str]]:
    return {
        number: (answer.error.error, answer.error.message)
        for number, answer in bench.answers.items()
        if answer.error is not None
    }


def test_a_grammar_that_nobody_waits_for_any_more_is_not_compiled(slow: SlowGrammars) -> None:
    begun = [slow.ask("a"), slow.ask("b")]
    assert {slow.begun.get(timeout=60) for _ in begun} == {"a", "b"}
    cancelled, twice, once = slow.ask("c"), slow.ask("d"), slow.ask("d")
    slow.bench.loop.cancel(cancelled)
    slow.bench.loop.cancel(twice)  # the other one still waits for it
    slow.settle()
    assert slow.begun.get_nowait() == "d"
    assert slow.begun.empty()
    assert {n for n, (_, why) in errors(slow.bench).items() if why == "d is done"} == {once}
    again = slow.ask("c")  # it was not kept as a grammar that is cancelled
    slow.settle()
    assert errors(slow.bench)[again] == ("Unsupported", "c is done")


def test_compiles_that_were_given_up_and_run_on_count_as_waiting(slow: SlowGrammars) -> None:
    given_up = [slow.ask("a"), slow.ask("b")]
    assert {slow.begun.get(timeout=60) for _ in given_up} == {"a", "b"}
    for number in given_up:
        slow.bench.loop.cancel(number)
    for text in "cde":
        slow.ask(text)
    with pytest.raises(QueueFull, match="5 requests"):
        slow.ask("f")
    slow.ask("f", owner="bob")


def test_who_waits_too_long_for_a_thread_is_told_to_come_back(slow: SlowGrammars) -> None:
    begun = [slow.ask("a"), slow.ask("b")]
    assert {slow.begun.get(timeout=60) for _ in begun} == {"a", "b"}
    innocent = slow.ask("c")
    with mock.patch.object(intake, "THREAD_S", -1.0):
        slow.bench.loop.step()
    assert {number: name for number, (name, _) in errors(slow.bench).items()} == {
        innocent: "QueueFull"
    }


def test_a_compile_is_timed_from_its_own_beginning(slow: SlowGrammars) -> None:
    begun = [slow.ask("a"), slow.ask("b")]
    assert {slow.begun.get(timeout=60) for _ in begun} == {"a", "b"}
    innocent = slow.ask("c")
    slow.bench.loop._intake._grammars._tokenizer_at = 0.0  # the vocabulary has long been there
    with mock.patch.object(intake, "COMPILE_S", -1.0):
        slow.bench.loop.step()
    refused = errors(slow.bench)
    assert set(refused) == set(begun)
    assert {name for name, _ in refused.values()} == {"InvalidRequest"}
    assert all("takes longer than" in why for _, why in refused.values())
    slow.settle()
    assert errors(slow.bench)[innocent] == ("Unsupported", "c is done")


@pytest.mark.usefixtures("world")
def test_a_vocabulary_without_grammars_costs_only_the_requests_for_one() -> None:
    bench = Bench()  # whose model has no such vocabulary
    request = GenerateRequest(TokenPrompt((1, 2)), constraint=GRAMMAR)
    for number in (101, 102):
        bench.loop.generate(messages.Generate(number, request))
    free = bench.submit([1, 2, 3])
    bench.finish()
    bench.check_answer(free)
    for number in (101, 102):
        error = bench.answers[number].error
        assert error is not None
        assert (error.error, error.param) == ("Unsupported", "grammar")
        assert "no end" in error.message


@pytest.mark.usefixtures("world")
def test_a_row_that_is_no_number_ends_its_own_request(capfd: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    good, bad = bench.submit([1, 2, 3]), bench.submit([4, 5, 6])
    bench.llama.spoiled = [4, 5, 6]
    bench.finish()
    bench.check_answer(good)
    assert errors(bench).keys() == {bad}
    assert "finite" in errors(bench)[bad][1]
    assert "Traceback" not in capfd.readouterr().err
    bench.llama.spoiled = []
    again = bench.submit([4, 5, 6])  # nothing of it was kept
    bench.check_answer_of(again)
    assert bench.cached(again) == 0
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_a_device_that_draws_no_token_ends_its_own_request() -> None:
    bench = Bench()
    bench.llama.draws = True
    good, bad = bench.submit([1, 2, 3]), bench.submit([4, 5, 6])
    bench.llama.spoiled = [4, 5, 6]
    bench.finish()
    bench.check_answer(good)
    assert errors(bench) == {bad: ("ModelError", "The device drew no token.")}
    bench.check_all_free()


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("where", ["sampling", "the text", "its beginning"])
def test_what_nobody_expected_ends_one_request_and_is_logged(
    where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = Bench()
    bad = bench.submit([4, 5, 6])
    if where == "sampling":
        bench.loop._requests[bad].sampler.pick = mock.Mock(side_effect=KeyError("sampling"))
    elif where == "the text":
        bench.loop._requests[bad].output.delta = mock.Mock(side_effect=KeyError("the text"))
    else:
        bench.llama.refuse_draw_by = 1
    good = bench.submit([1, 2, 3])
    bench.finish()
    bench.check_answer(good)
    (name, why) = errors(bench)[bad]
    assert name == "ModelError"
    assert "its log says how" in why
    assert "Traceback" in capfd.readouterr().err
    assert bench.loop.load == (0, 0)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("begun", [False, True])
def test_a_seeded_request_that_was_interrupted_does_not_repeat_its_numbers(
    seed: int | None, begun: bool
) -> None:
    bench = Bench()
    bench.llama.draws = True
    set_up = bench.llama.draw_by = mock.Mock()
    for number in (1, 2):
        prompt = [number, 2, 3]
        sampling = Sampling(temperature=1, seed=seed)
        request = GenerateRequest(TokenPrompt(tuple(prompt)), 6, sampling)
        bench.loop.generate(messages.Generate(number, request))
        bench.answers[number], bench.prompts[number] = Answer(), (prompt, 6)
    if begun:
        bench.step()
    bench.llama.refuse = 1
    bench.step()
    assert bench.preempted == 1
    bench.finish()
    for number in (1, 2):
        bench.check_answer(number)
    recipe = Recipe(1.0, seed=seed)
    again = None if begun and seed is not None else recipe
    assert [call.args[1] for call in set_up.call_args_list] == [recipe, recipe, again]


@pytest.mark.usefixtures("world")
def test_a_lone_request_that_finds_no_room_is_tried_again_without_idle_prefixes() -> None:
    bench = Bench(prefix_cache_mb=0)
    bench.check_answer_of(bench.submit(list(range(20)), 1))
    assert bench.llama.cache.cells  # too long to be parked
    request = bench.submit([1, 2, 3], 10)
    bench.llama.refuse = 1
    bench.finish()
    bench.check_answer(request)
    bench.check_all_free()


@pytest.mark.usefixtures("world")
def test_when_all_failed_nobody_is_said_to_run() -> None:
    bench = Bench()
    request = bench.submit([1, 2, 3], 10)
    bench.step()
    heard: list[messages.FromWorker] = []
    bench.loop._send = heard.append
    bench.llama.refuse = 1
    bench.loop.step()
    assert [getattr(each, "id", None) for each in heard] == [request, None]
    assert heard[1] == messages.Step((), 0, 0)


@pytest.mark.usefixtures("world")
def test_an_answer_has_ended_before_its_prompt_is_parked() -> None:
    bench = Bench()
    save = bench.llama.save
    ended: list[bool] = []

    def watched_save(slot: int) -> State:
        ended.append(bench.answers[request].end is not None)
        return save(slot)

    request = bench.submit(list(range(20)), max_tokens=4)
    with mock.patch.object(bench.llama, "save", watched_save):
        bench.finish()
    assert ended == [True]
    bench.check_answer(request)
