"""Chat completions through the official client, synchronous and asynchronous."""

import asyncio
from typing import Any

import openai
import pytest

from tests.contract.conftest import Gateway

HELLO: list[Any] = [{"role": "user", "content": "Say one two three"}]
GREEDY: dict[str, Any] = {"max_tokens": 8, "temperature": 0}


def asynchronous(gateway: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def test_an_answer_has_everything_the_api_promises(gateway: Gateway) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=16, temperature=0
    )
    assert found.id.startswith("chatcmpl-")
    assert found.object == "chat.completion"
    assert found.model == gateway.chat_model
    assert found.system_fingerprint
    (choice,) = found.choices
    assert choice.index == 0
    assert choice.finish_reason in ("stop", "length")
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.refusal is None
    assert "logprobs" in choice.model_fields_set
    assert "refusal" in choice.message.model_fields_set
    assert found.usage is not None
    assert found.usage.prompt_tokens > 0
    assert 0 < found.usage.completion_tokens <= 16
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    timings = found.model_extra["timings"]  # type: ignore[index]
    assert timings["completion_tokens"] == found.usage.completion_tokens


def test_a_stream_is_the_same_answer(gateway: Gateway) -> None:
    asked: dict[str, Any] = {"model": gateway.chat_model, "messages": HELLO, **GREEDY}
    whole = gateway.client.chat.completions.create(**asked)
    text, reasons, usages = "", [], []
    with gateway.client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            usages += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    assert text == whole.choices[0].message.content
    assert reasons == [whole.choices[0].finish_reason]
    assert len(usages) == 1
    assert whole.usage is not None
    assert usages[0].prompt_tokens == whole.usage.prompt_tokens
    assert usages[0].completion_tokens == whole.usage.completion_tokens


async def test_the_asynchronous_client(gateway: Gateway) -> None:
    asked: dict[str, Any] = {"model": gateway.chat_model, "messages": HELLO, **GREEDY}
    expected = gateway.client.chat.completions.create(**asked).choices[0]
    async with asynchronous(gateway) as client:
        found = await client.chat.completions.create(**asked)
    assert found.choices[0].message.content
    assert found.choices[0].message.content == expected.message.content
    assert found.choices[0].finish_reason == expected.finish_reason


async def test_the_asynchronous_client_streams(gateway: Gateway) -> None:
    asked: dict[str, Any] = {"model": gateway.chat_model, "messages": HELLO, **GREEDY}
    expected = gateway.client.chat.completions.create(**asked).choices[0]
    text, reasons = "", []
    async with (
        asynchronous(gateway) as client,
        await client.chat.completions.create(**asked, stream=True) as stream,
    ):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            reasons.append(chunk.choices[0].finish_reason)
    assert text
    assert text == expected.message.content
    assert reasons[-1] == expected.finish_reason
    assert set(reasons[:-1]) == {None}


async def test_calls_at_once_each_get_their_own(gateway: Gateway) -> None:
    # Prompts of different lengths: their counts tell whose answer it is, whatever the engine says.
    # The first asks for the longest answer, so that they do not end in the order they came in.
    questions = {"word " * count: 16 // count for count in (1, 4, 8, 16)}
    async with asynchronous(gateway) as client:

        async def ask(content: str, length: int) -> int:
            found = await client.chat.completions.create(
                model=gateway.chat_model,
                messages=[{"role": "user", "content": content}],
                max_tokens=length,
                temperature=0,
            )
            assert found.usage is not None
            assert found.usage.completion_tokens <= length
            return found.usage.prompt_tokens

        alone = [await ask(content, length) for content, length in questions.items()]
        together = await asyncio.gather(*(ask(*question) for question in questions.items()))
    assert alone == sorted(set(alone))
    assert together == alone


async def test_errors_reach_the_asynchronous_client(gateway: Gateway) -> None:
    async with asynchronous(gateway) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="nope", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(
                model=gateway.chat_model, messages=HELLO, temperature=3, stream=True
            )
    assert missing.value.code == "model_not_found"
    assert refused.value.param == "temperature"


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 2, "top_p": 0.01},
        {"seed": -5},
        {"stop": "zzz"},
        {"stop": ["a", "b", "c", "d"]},
        {"stop": []},
        {"max_completion_tokens": 2},
        {"max_tokens": 2, "max_completion_tokens": 2},
        {"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "logprobs": False},
        {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"prompt_cache_key": "k", "safety_identifier": "s", "modalities": ["text"]},
        {"extra_body": {"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.0, "unheard_of": {"x": 1}}},
        {"extra_body": {"temperature": None, "stop": None, "tools": None}},
        {"messages": [{"role": "developer", "content": "d"}, *HELLO]},
        {"messages": [{"role": "system", "content": [{"type": "text", "text": "s"}]}, *HELLO]},
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": [{"type": "text", "text": "b"}], "name": "n"},
            ]
        },
    ],
)
def test_what_is_accepted(gateway: Gateway, fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {"model": gateway.chat_model, "messages": HELLO, "max_tokens": 8}
    if "max_completion_tokens" in fields:
        del given["max_tokens"]
    found = gateway.client.chat.completions.create(**{**given, **fields})
    assert found.choices[0].message.content is not None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"n": "1"}, "n"),
        ({"n": 0}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repeat_penalty"),
        ({"typical_p": 0}, "typical_p"),
        ({"n": 129}, "n"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {}},
                    "schema": {},
                }
            },
            "response_format.schema",
        ),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
        ({"ensemble": {"top_k": 0}}, "ensemble.top_k"),
        ({"service_tier": "turbo"}, "service_tier"),
    ],
)
def test_what_is_refused_names_the_parameter(
    gateway: Gateway, fields: dict[str, Any], param: str
) -> None:
    body = {"model": gateway.chat_model, "messages": HELLO, "max_completion_tokens": 8, **fields}
    if "max_tokens" in fields and "max_completion_tokens" not in fields:
        del body["max_completion_tokens"]
    answer = gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_an_unknown_model_is_a_404(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        gateway.client.chat.completions.create(model="nope", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_prompt_longer_than_the_context_is_a_400(gateway: Gateway) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 20_000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            gateway.client.chat.completions.create(
                model=gateway.chat_model, messages=long, stream=stream
            )
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.param == "messages"


def test_the_length_limit_is_told(gateway: Gateway) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=1
    )
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert found.usage.completion_tokens == 1
