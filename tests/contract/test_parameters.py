"""The parameters of a chat completion, through the official SDK."""

from collections import defaultdict
from typing import Any, Literal

import pydantic
import pytest

from tests.contract.conftest import Gateway

HELLO: Any = [{"role": "user", "content": "Say one two three"}]


class Verdict(pydantic.BaseModel):
    colour: Literal["red", "green"]
    count: int


def test_n_gives_as_many_choices_and_counts_the_prompt_once(gateway: Gateway) -> None:
    one = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=6
    )
    many = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=6, n=3, seed=5
    )
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in many.choices)
    assert one.usage is not None
    assert many.usage is not None
    assert many.usage.prompt_tokens == one.usage.prompt_tokens
    assert 3 <= many.usage.completion_tokens <= 18


def test_n_streams_every_choice_to_its_own_end(gateway: Gateway) -> None:
    texts: defaultdict[int, str] = defaultdict(str)
    reasons: dict[int, str] = {}
    last = None
    stream = gateway.client.chat.completions.create(
        model=gateway.chat_model,
        messages=HELLO,
        max_tokens=6,
        n=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        last = chunk
        for choice in chunk.choices:
            assert choice.index not in reasons, "something after the end"
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert sorted(reasons) == [0, 1, 2]
    assert set(reasons.values()) <= {"stop", "length"}
    assert all(texts[index] for index in range(3))
    assert last is not None
    assert last.choices == []
    assert last.usage is not None


@pytest.mark.parametrize("top", [0, 3])
def test_logprobs_are_of_the_tokens_of_the_text(gateway: Gateway, top: int) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=8, logprobs=True, top_logprobs=top
    )
    choice = found.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content
    pieces = b"".join(bytes(each.bytes or []) for each in choice.logprobs.content)
    assert pieces.decode("utf-8", "replace").startswith(choice.message.content or "?")
    for each in choice.logprobs.content:
        assert each.logprob <= 0
        values = [other.logprob for other in each.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert len(values) <= top
        if top:
            assert values[0] >= each.logprob


def test_streamed_logprobs_are_those_of_the_whole(gateway: Gateway) -> None:
    given: Any = {
        "model": gateway.chat_model,
        "messages": HELLO,
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": True,
    }
    count = 0
    for chunk in gateway.client.chat.completions.create(**given, stream=True):
        for choice in chunk.choices:
            if choice.logprobs is not None:
                count += len(choice.logprobs.content or [])
    whole = gateway.client.chat.completions.create(**given).choices[0].logprobs
    assert whole is not None
    assert count == len(whole.content or []) > 0


def test_without_logprobs_there_are_none(gateway: Gateway) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=4
    )
    assert found.choices[0].logprobs is None


def test_parse_gives_an_instance_of_the_schema(gateway: Gateway) -> None:
    found = gateway.client.chat.completions.parse(
        model=gateway.chat_model,
        messages=[{"role": "user", "content": "Which colour, and how many?"}],
        response_format=Verdict,
        temperature=1.5,
        max_tokens=64,
    )
    verdict = found.choices[0].message.parsed
    assert verdict is not None
    assert verdict.colour in ("red", "green")


def test_json_object_is_an_object(gateway: Gateway) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model,
        messages=[{"role": "user", "content": "A JSON object with one short field."}],
        response_format={"type": "json_object"},
        logit_bias={},
        max_tokens=200,
        temperature=0,
    )
    content = found.choices[0].message.content or ""
    assert content.startswith("{")
    if found.choices[0].finish_reason == "stop":
        pydantic.TypeAdapter(dict[str, Any]).validate_json(content)


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 1.5},
        {"frequency_penalty": -1},
        {"logit_bias": {"1": -100, "2": 5}},
        {"extra_body": {"repeat_penalty": 1.2}},
        {"extra_body": {"repetition_penalty": 1.2, "typical_p": 0.9, "top_k": 20, "min_p": 0.05}},
    ],
)
def test_sampling_parameters_are_taken(gateway: Gateway, fields: dict[str, Any]) -> None:
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=HELLO, max_tokens=4, **fields
    )
    assert found.choices[0].message.content is not None


def test_a_schema_that_cannot_be_compiled_is_a_400_that_names_it(gateway: Gateway) -> None:
    answer = gateway.http.post(
        "/v1/chat/completions",
        json={
            "model": gateway.chat_model,
            "messages": HELLO,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "banana"}},
            },
        },
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "response_format"
