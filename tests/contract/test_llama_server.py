"""The upstream engine against llama.cpp's own server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from models.engine import Engine
from models.engines.upstream import UpstreamEngine
from models.errors import ContextOverflow, InvalidRequest, Unsupported
from models.settings import ModelSettings
from models.types import (
    ChatPrompt,
    Constraint,
    GenerateDelta,
    GenerateRequest,
    Message,
    Prompt,
    Sampling,
    TextPrompt,
    TokenizeRequest,
    TokenPrompt,
)
from models.upstream_settings import UpstreamSettings
from tests.llama_server import CONTEXT, llama_server
from tests.real_models import smollm2_path

pytestmark = pytest.mark.asyncio(loop_scope="module")
STORY = "Once upon a time a fox, a crow and a very old turtle lived by the river. "


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Engine]:
    with llama_server(smollm2_path()) as url:
        # It hangs up on an idle connection, perhaps just as that is used again.
        settings = UpstreamSettings(server="llama-server", retries=1)
        model = ModelSettings(id="far", kind="chat", context=CONTEXT, upstream=settings)
        engine = UpstreamEngine(model, f"{url}/v1")
        await engine.start()
        yield engine
        await engine.stop(5)


def chat(text: str) -> ChatPrompt:
    return ChatPrompt((Message("user", text),))


async def ask(engine: Engine, prompt: Prompt, **options: Any) -> list[GenerateDelta]:
    given = {"sampling": Sampling(temperature=0), "max_tokens": 6, **options}
    return [delta async for delta in engine.generate(GenerateRequest(prompt, **given))]


def text(deltas: list[GenerateDelta]) -> str:
    return "".join(delta.text for delta in deltas)


async def test_an_answer_is_counted(engine: Engine) -> None:
    prompt = chat("Name three colours, please.")
    deltas = await ask(engine, prompt, max_tokens=4)
    end = deltas[-1].end
    assert end is not None
    assert text(deltas)
    assert (end.reason, end.usage.completion_tokens) == ("length", 4)
    tokens = await engine.tokenize(TokenizeRequest(prompt))
    assert end.usage.prompt_tokens == len(tokens)
    (whole,) = await ask(engine, prompt, max_tokens=4, whole=True)
    assert whole.text == text(deltas)


async def test_text_and_tokens_are_the_same_prompt(engine: Engine) -> None:
    sky = TextPrompt("The sky is blue and the grass is")
    tokens = await engine.tokenize(TokenizeRequest(sky))
    assert await engine.detokenize(tokens) == sky.text
    assert await engine.count_tokens([sky.text, "a"]) == [len(tokens), 1]
    assert text(await ask(engine, TokenPrompt(tuple(tokens)))) == text(await ask(engine, sky))


async def test_a_schema_and_a_grammar_are_followed(engine: Engine) -> None:
    schema = '{"const": "one two three four"}'
    options = {"constraint": Constraint("json_schema", schema), "max_tokens": 40}
    assert text(await ask(engine, chat("Count."), **options)) == '"one two three four"'
    cut = await ask(engine, chat("Count."), stop=("wo th",), **options)
    assert text(cut) == '"one t'
    gbnf = Constraint("gbnf", 'root ::= ("ja" | "nein") "!"')
    assert text(await ask(engine, chat("Yes or no?"), constraint=gbnf)) in ("ja!", "nein!")
    bad = Constraint("json_schema", '{"type": "no such type"}')
    with pytest.raises(InvalidRequest):
        await ask(engine, chat("x"), constraint=bad)
    with pytest.raises(Unsupported) as raised:
        await ask(engine, chat("x"), constraint=Constraint("lark", 'start: "a"'))
    assert raised.value.param == "grammar"


async def test_a_prompt_beyond_the_context_names_both_numbers(engine: Engine) -> None:
    with pytest.raises(ContextOverflow) as raised:
        await ask(engine, chat("word " * 2 * CONTEXT))
    assert raised.value.context == CONTEXT
    assert raised.value.prompt_tokens > 2 * CONTEXT


async def test_log_probabilities_are_those_of_the_text(engine: Engine) -> None:
    for prompt in (chat("Name a colour."), TextPrompt("A colour is")):
        sampling = Sampling(temperature=0, logprobs=2)
        deltas = await ask(engine, prompt, sampling=sampling)
        found = [each for delta in deltas for each in delta.logprobs]
        assert b"".join(each.piece for each in found).decode() == text(deltas)
        assert all(len(each.top) == 2 and each.logprob <= 0 for each in found)


async def test_closing_the_iterator_leaves_room_for_others(engine: Engine) -> None:
    for _ in range(3):  # more than it has slots
        async with aclosing(engine.generate(GenerateRequest(chat(STORY)))) as deltas:
            await anext(deltas)
            assert engine.stats().running == 1
    assert engine.stats().running == 0
    answers = await asyncio.gather(*(ask(engine, chat(f"Say {n}")) for n in range(3)))
    assert all(map(text, answers))
