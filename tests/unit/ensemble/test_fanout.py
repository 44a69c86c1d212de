import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from gateway.ensemble.answer import Ending, MemberAnswer, encode, ending
from gateway.ensemble.fanout import Loading, Question, Reply, ask, most_telling, seed_for
from models.engines.fake import FakeEngine
from models.errors import (
    EngineCrashed,
    EngineUnavailable,
    InvalidRequest,
    ModelError,
    QueueFull,
    RequestTimeout,
)
from models.types import Constraint, GenerateDelta, GenerateRequest, TextPrompt

GOOD = '{"answer_value":"12 s","passages":[1]}'


async def fake(reply: str = GOOD, **options: object) -> FakeEngine:
    engine = FakeEngine(reply=lambda request: reply, **options)  # type: ignore[arg-type]
    await engine.start()
    return engine


def question(engine: FakeEngine | ModelError, max_tokens: int | None = None) -> Question:
    request = GenerateRequest(TextPrompt("?"), max_tokens=max_tokens)
    return Question(engine=engine, request=request, passages=(1,))


async def all_replies(*questions: Question, timeout_s: float = 5.0) -> dict[int, Reply]:
    found: dict[int, Reply] = {}
    async for replies in ask(questions, [range(len(questions))], timeout_s):
        if not isinstance(replies, Loading):
            found |= {reply.place: reply for reply in replies}
    return found


def places(replies: list[Reply] | Loading) -> list[int]:
    assert not isinstance(replies, Loading)
    return [reply.place for reply in replies]


class Particular(FakeEngine):
    """Refuses one grammar, as a worker does that cannot compile it."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        if request.constraint == Constraint("lark", "large"):
            raise InvalidRequest("'grammar' cannot be compiled", "grammar")
        async for delta in super().generate(replace(request, constraint=None)):
            yield delta


async def test_a_grammar_that_is_too_large_gives_way_to_a_plainer_one() -> None:
    engine = Particular(reply=lambda request: GOOD)
    large = replace(GenerateRequest(TextPrompt("?")), constraint=Constraint("lark", "large"))
    asked = Question(engine=engine, request=large, passages=(1,))
    plainer = Question(
        engine=engine, request=large, passages=(1,), plainer=Constraint("lark", "small")
    )
    replies = await all_replies(asked, plainer)
    assert isinstance(replies[0].error, InvalidRequest)
    assert replies[1].answer is not None


def forever() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


async def test_answers_with_their_usage() -> None:
    replies = await all_replies(question(await fake()), question(await fake()))
    assert sorted(replies) == [0, 1]
    assert replies[0].answer is not None
    assert replies[0].answer.answer_value == "12 s"
    assert replies[0].usage.completion_tokens > 0


async def test_a_failed_member_is_a_reply_and_the_others_go_on() -> None:
    replies = await all_replies(
        question(EngineUnavailable("gone")),
        question(await fake("rambling")),
        question(await fake(), max_tokens=1),
        question(await fake(gate=forever)),
        question(await fake()),
        timeout_s=0.5,
    )
    assert isinstance(replies[0].error, EngineUnavailable)
    assert "not valid" in str(replies[1].error)
    assert isinstance(replies[2].error, InvalidRequest)
    assert replies[2].error.param == "max_tokens"
    assert isinstance(replies[3].error, RequestTimeout)
    assert replies[4].error is None


async def test_replies_come_as_they_are_ready() -> None:
    slow = await fake(gate=lambda: asyncio.ensure_future(asyncio.sleep(0.01)))
    coming = ask([question(slow), question(await fake())], [(0, 1)], 5.0)
    assert [places(replies) async for replies in coming] == [[1], [0]]


async def test_waves_follow_one_another() -> None:
    running = 0

    def gate() -> "asyncio.Future[None]":
        nonlocal running
        running = max(running, sum(engine.stats().running for engine in engines))
        return asyncio.ensure_future(asyncio.sleep(0))

    engines = [await fake(gate=gate), await fake(gate=gate)]
    coming = ask([question(e) for e in engines], [(1,), (0,)], 5.0)
    assert [places(replies) async for replies in coming] == [[1], [0]]
    assert running == 1


async def test_those_that_are_ready_together_come_together() -> None:
    gone = question(EngineUnavailable("gone"))
    coming = ask([gone, gone, question(await fake())], [(0, 1, 2)], 5.0)
    assert [places(replies) async for replies in coming] == [[0, 1], [2]]


async def test_no_wave_waits_for_those_beside() -> None:
    """The one beside is let go by the last wave's answer only."""
    last = forever()

    async def until_last() -> None:
        await last

    def let_go() -> "asyncio.Future[None]":
        last.set_result(None)
        return asyncio.ensure_future(asyncio.sleep(0))

    engines = [
        await fake(),
        await fake(gate=lambda: asyncio.ensure_future(until_last())),
        await fake(gate=let_go, reply='{"answer_value":"1","passages":[1]}'),
    ]
    asked = [question(engine) for engine in engines]
    order: list[int] = []
    async for replies in ask(asked, [(0,), (2,)], 5.0, beside=(1,)):
        assert not isinstance(replies, Loading)
        order += [reply.place for reply in replies]
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]
    only = [r async for r in ask([question(await fake())], [], 5.0, beside=(0,))]
    assert len(only) == 1


async def test_closing_cancels_every_member() -> None:
    engines = [await fake(), await fake(gate=forever), await fake(gate=forever)]
    coming = ask([question(e) for e in engines], [(0, 1, 2)], 5.0)
    async with aclosing(coming):
        assert places(await anext(coming)) == [0]
        assert [engine.stats().running for engine in engines] == [0, 1, 1]
    assert [engine.stats().running for engine in engines] == [0, 0, 0]


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([EngineCrashed("x"), QueueFull("x", 1.0)], QueueFull),
        ([ModelError("x"), EngineCrashed("x")], EngineCrashed),
        ([EngineUnavailable("x"), InvalidRequest("x", "messages")], InvalidRequest),
        ([ModelError("x")], ModelError),
    ],
)
def test_the_most_telling_error(errors: list[ModelError], kind: type[ModelError]) -> None:
    assert type(most_telling(errors)) is kind


def test_seeds_differ_between_members_and_not_between_runs() -> None:
    assert [seed_for(7, place) for place in range(3)] == [7, 8, 9]
    assert [seed_for(None, place) for place in range(2)] == [0, 1]
    assert 0 <= seed_for(-5, 0) < 2**32
    assert 0 <= seed_for(2**63 - 1, 1) < 2**32


def ended(at: Ending, number: int) -> Question:
    """A question whose answer may end before its end."""
    request = GenerateRequest(TextPrompt("?"), stop=(at.stop,))
    return Question(engine=ModelError("none yet"), request=request, passages=(number,), ending=at)


@pytest.mark.parametrize("value", ["12 s", "a, b}", "é"])
async def test_an_extracted_answer_ends_at_its_value(value: str) -> None:
    at = ending([4], extractive=True)
    assert at is not None
    answer = MemberAnswer(answer_value=value, passages=(4,))
    written = encode(answer, True)
    engine = await fake(written)
    asked = replace(ended(at, 4), engine=engine)
    whole = replace(asked, request=GenerateRequest(TextPrompt("?")), ending=None)
    replies = await all_replies(asked, whole)
    assert replies[0].answer == replies[1].answer == answer
    assert replies[0].usage.completion_tokens <= replies[1].usage.completion_tokens


@pytest.mark.parametrize("blank", [False, True])
async def test_nobody_writes_an_explanation_that_nobody_reads(blank: bool) -> None:
    at = ending([1, 4], extractive=False)
    assert at is not None
    said = 'It says "explanation": twelve.'
    answer = MemberAnswer(answer_value="12", passages=(4,), is_blank=blank, answer=said)
    engine = await fake(encode(replace(answer, explanation="Because of this and that."), False))
    reply = (await all_replies(replace(ended(at, 4), engine=engine)))[0]
    assert reply.answer == answer


def test_what_an_answer_depends_on_is_written() -> None:
    assert ending([1, 4], extractive=True) is None
    assert ending([4], extractive=False, order="explanation_first") is None


async def test_an_answer_that_was_cut_short_is_not_completed() -> None:
    at = ending([4], extractive=True)
    assert at is not None
    engine = await fake('{"answer_value":"hold it for 12 s","passages":[4]}')
    asked = ended(at, 4)
    short = replace(asked, engine=engine, request=replace(asked.request, max_tokens=3))
    assert isinstance((await all_replies(short))[0].error, InvalidRequest)


async def test_a_stop_in_thoughts_is_no_answer() -> None:
    """Another server may look for stop strings in what its model thinks, and end there."""
    at = ending([4], extractive=True)
    assert at is not None
    answer = MemberAnswer(answer_value="12", passages=(4,))
    engine = FakeEngine(reply=lambda asked: at.stop if asked.stop else encode(answer, True))
    await engine.start()
    reply = (await all_replies(replace(ended(at, 4), engine=engine)))[0]
    assert reply.answer == answer
