import asyncio
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engine import Engine
from models.engines.fake import FakeEngine, minimal_instance
from models.errors import EngineUnavailable, InvalidRequest, Unsupported
from models.types import (
    ChatPrompt,
    Constraint,
    EmbedRequest,
    GenerateRequest,
    Message,
    TextPrompt,
    TokenizeRequest,
)


async def started(**options: object) -> FakeEngine:
    engine = FakeEngine(**options)  # type: ignore[arg-type]
    await engine.start()
    return engine


def ask(text: str, **options: object) -> GenerateRequest:
    return GenerateRequest(ChatPrompt((Message("user", text),)), **options)  # type: ignore[arg-type]


async def answer(engine: FakeEngine, request: GenerateRequest) -> str:
    return "".join([delta.text async for delta in engine.generate(request)])


def test_it_is_an_engine() -> None:
    assert isinstance(FakeEngine(), Engine)


async def test_it_repeats_the_last_message() -> None:
    engine = await started()
    assert await answer(engine, ask("one  two\nthree ")) == "one  two\nthree "


async def test_a_reply_may_be_given() -> None:
    engine = await started(reply=lambda request: f"{request.max_tokens} words")
    assert await answer(engine, ask("x", max_tokens=5)) == "5 words"


async def test_the_gate_holds_each_word() -> None:
    reached = asyncio.Event()
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def gate() -> "asyncio.Future[None]":
        reached.set()
        return opened

    engine = await started(gate=gate)
    stream = engine.generate(ask("one two"))
    first = asyncio.ensure_future(anext(stream))
    await reached.wait()
    assert engine.stats().running == 1
    assert not first.done()
    opened.set_result(None)
    assert (await first).text == "one"
    await stream.aclose()
    assert engine.stats().running == 0


async def test_it_takes_nothing_before_start_or_after_stop() -> None:
    engine = FakeEngine()
    with pytest.raises(EngineUnavailable):
        await answer(engine, ask("x"))
    await engine.start()
    await engine.stop(1)
    await engine.stop(1)
    with pytest.raises(EngineUnavailable):
        await engine.embed(EmbedRequest(("x",)))


async def test_like_texts_have_near_vectors() -> None:
    engine = await started()
    result = await engine.embed(EmbedRequest(("router reset", "reset router", "paper tray", "")))
    size = result.dimension
    rows = [struct.unpack_from(f"<{size}f", result.vectors, 4 * size * n) for n in range(4)]
    assert rows[0] == rows[1]
    assert sum(a * b for a, b in zip(rows[0], rows[2], strict=True)) < 0.9
    for vector in rows:
        assert sum(x * x for x in vector) == pytest.approx(1)


async def test_only_json_schemas_are_followed() -> None:
    engine = await started()
    with pytest.raises(Unsupported):
        await answer(engine, ask("x", constraint=Constraint("lark", 'start: "x"')))
    for grammar in (
        "{",
        "[1]",
        '"x"',
        '{"type": 12}',
        '{"enum": []}',
        '{"type": "array", "minItems": "x"}',
        '{"$ref": "#"}',
    ):
        with pytest.raises(InvalidRequest):
            await answer(engine, ask("x", constraint=Constraint("json_schema", grammar)))


def test_the_smallest_instance() -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3},
            "s": {"type": ["string", "null"], "minLength": 2},
            "e": {"enum": ["b", "a"]},
            "l": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "any": {"anyOf": [{"const": 4}, {"type": "null"}]},
            "r": {"$ref": "#/$defs/four"},
            "not_required": {"type": "string"},
        },
        "required": ["n", "s", "e", "l", "any", "r"],
        "$defs": {"four": {"type": "integer", "minimum": 4}},
    }
    assert minimal_instance(schema) == {
        "n": 3,
        "s": "xx",
        "e": "b",
        "l": [False, False],
        "any": 4,
        "r": 4,
    }


async def test_a_schema_gives_json() -> None:
    engine = await started()
    constraint = Constraint("json_schema", '{"properties": {"a": {}}, "required": ["a"]}')
    assert json.loads(await answer(engine, ask("x", constraint=constraint))) == {"a": {}}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokens_give_the_text_back(text: str) -> None:
    async def round_trip() -> str:
        engine = await started()
        return await engine.detokenize(await engine.tokenize(TokenizeRequest(TextPrompt(text))))

    assert asyncio.run(round_trip()) == text
