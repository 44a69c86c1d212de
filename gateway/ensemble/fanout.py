"""Asking the members at the same time, and taking their answers as they come."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from gateway.ensemble.answer import (
    AnswerError,
    Ending,
    MemberAnswer,
    closed,
    parse,
    parse_free,
)
from gateway.ensemble.likelihood import likelihood_of
from models.engine import Engine
from models.errors import (
    EngineCrashed,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
    ModelError,
    NotDownloaded,
    QueueFull,
    RequestTimeout,
)
from models.types import Constraint, GenerateEnd, GenerateRequest, Timings, TokenLogprob, Usage

__all__ = ["Loading", "Question", "Reply", "ask", "most_telling", "seed_for"]

# Of several failures, the one that tells the client most about what to do.
TELLING: tuple[type[ModelError], ...] = (
    InvalidRequest,
    NotDownloaded,
    QueueFull,
    EngineUnavailable,
    RequestTimeout,
    EngineCrashed,
    LoadFailed,
)


class Question(Struct, frozen=True, kw_only=True):
    """What one member is asked. `passages` are the numbers it may cite.

    `engine` is the error that said so where the member has none. `free`: it answers with any JSON.
    `ending` is where the request has it stop, if before its answer's end. `limited`: the client
    itself said how many tokens there are, and not the ensemble's settings.
    """

    engine: Engine | ModelError
    request: GenerateRequest
    passages: tuple[int, ...]
    free: bool = False
    plainer: Constraint | None = None  # for an engine that cannot compile the request's own
    ending: Ending | None = None
    limited: bool = True


class Reply(Struct, frozen=True, kw_only=True):
    """What became of a question, by its place: an answer or an error."""

    place: int
    answer: MemberAnswer | None = None
    error: ModelError | None = None
    latency_ms: float = 0.0
    usage: Usage = Usage()
    timings: Timings = Timings()
    likelihood: float | None = None  # of its value, where the request asks for probabilities


class Loading(Struct, frozen=True):
    """The member at this place waits for its model to be loaded."""

    place: int


async def ask(
    questions: Sequence[Question],
    waves: Sequence[Sequence[int]],
    timeout_s: float,
    beside: Sequence[int] = (),
) -> AsyncGenerator[list[Reply] | Loading, None]:
    """Every question's reply as it comes, those that are there at the same time together.

    Closing the iterator cancels the questions that are still running.
    `waves` are places of questions: those of one wave run at once, the next when all are done;
    those `beside` run from the beginning on, and no wave waits for them.
    A member's failure is its reply. `timeout_s` is for each member alone, once its model is loaded.
    """
    tasks: list[asyncio.Task[Reply]] = []
    running: set[asyncio.Task[Reply]] = set()
    try:
        for number, wave in enumerate(waves or [()]):
            beginning = (*beside, *wave) if number == 0 else tuple(wave)
            for place in _cold(questions, beginning):
                yield Loading(place)
            begun = [
                asyncio.create_task(_ask_one(at, questions[at], timeout_s)) for at in beginning
            ]
            tasks += begun
            running |= set(begun)
            awaited = begun[len(beginning) - len(wave) :]
            while running.intersection(awaited) or (running and number >= len(waves) - 1):
                done, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                yield [task.result() for task in tasks if task in done]
    finally:
        for task in tasks:
            task.cancel()
        # Waited for, so that every engine has let go of its request when this returns.
        await asyncio.gather(*tasks, return_exceptions=True)


def most_telling(errors: Sequence[ModelError]) -> ModelError:
    """The error to answer with when every member failed."""
    return min(errors, key=_rank)


def seed_for(seed: int | None, place: int) -> int:
    """A member's seed: the request's (or 0), plus one for each member before it; 32 bits."""
    return ((seed or 0) + place) % 2**32


def _cold(questions: Sequence[Question], wave: Sequence[int]) -> list[int]:
    """The first place of each engine that is to be loaded before it answers."""
    found: dict[int, int] = {}
    for place in wave:
        engine = questions[place].engine
        if not isinstance(engine, ModelError) and engine.stats().state in ("unloaded", "loading"):
            found.setdefault(id(engine), place)
    return list(found.values())


async def _ask_one(place: int, question: Question, timeout_s: float) -> Reply:
    began = time.perf_counter()
    text, end = "", None
    answer, error = None, None
    tokens: list[TokenLogprob] = []
    try:
        if isinstance(question.engine, ModelError):
            raise question.engine
        await question.engine.start()
        began = time.perf_counter()
        async with asyncio.timeout(timeout_s):
            text, end = await _answer(question.engine, question, tokens)
        answer = _read(text, end, question)
    except TimeoutError:
        error = RequestTimeout(f"No answer within {timeout_s:g} s, the ensemble's timeout_s.")
    except ModelError as failure:
        error = failure
    return Reply(
        place=place,
        answer=answer,
        error=error,
        latency_ms=(time.perf_counter() - began) * 1000,
        usage=end.usage if end else Usage(),
        timings=end.timings if end else Timings(),
        likelihood=likelihood_of(tokens),
    )


async def _answer(
    engine: Engine, question: Question, tokens: list[TokenLogprob]
) -> tuple[str, GenerateEnd | None]:
    """Within the request's constraint, or the plainer one where that is too large a grammar."""
    request = question.request
    try:
        text, end = await _generate(engine, request, tokens)
    except InvalidRequest as refused:
        if question.plainer is None or refused.param != "grammar":
            raise
        request = replace(request, constraint=question.plainer)
        text, end = await _generate(engine, request, tokens)
    if question.ending is None or end is None or end.reason != "stop":
        return text, end
    if not text:  # another server's model met the stop string in its thoughts
        return await _generate(engine, replace(request, stop=()), tokens)
    return question.ending.completed(text), end


async def _generate(
    engine: Engine, request: GenerateRequest, tokens: list[TokenLogprob]
) -> tuple[str, GenerateEnd | None]:
    pieces: list[str] = []
    end = None
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            pieces.append(delta.text)
            tokens += delta.logprobs
            end = delta.end or end
    return "".join(pieces), end


def _read(text: str, end: GenerateEnd | None, question: Question) -> MemberAnswer:
    cut = end is not None and end.reason == "length"
    try:
        if question.free:
            return parse_free(text)
        return parse(closed(text) if cut else text, question.passages)
    except AnswerError as error:
        if cut:
            limit = question.request.max_tokens
            if limit and not question.limited:  # nothing that the client could mend
                raise ModelError(f"The answer does not end within {limit} tokens.") from error
            raise InvalidRequest(
                f"The answer did not fit into {limit} tokens."
                if limit
                else "The answer did not fit into the context.",
                "max_tokens",
            ) from error
        raise ModelError(f"The answer cannot be used: {error}.") from error


def _rank(error: ModelError) -> int:
    return next((at for at, kind in enumerate(TELLING) if isinstance(error, kind)), len(TELLING))
