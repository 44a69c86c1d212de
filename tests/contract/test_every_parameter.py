"""Every parameter of a chat completion has an effect, or is refused by its name."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import openai
import pytest
from openai.types import completion_create_params as completion_params
from openai.types import embedding_create_params as embedding_params
from openai.types.chat import completion_create_params as chat_params

from gateway.schema.chat import ChatRequest
from gateway.schema.completions import CompletionRequest
from gateway.schema.embeddings import EmbeddingRequest
from tests.contract.conftest import Gateway

STORY: Any = [{"role": "user", "content": "Tell a story about a fox and a crow."}]
# Built and tested by their own subjects: tools, reasoning, scheduling, ensembles.
ELSEWHERE = {
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "reasoning_effort",
    "chat_template_kwargs",
    "service_tier",
    "deterministic",
    "ensemble",
}
WITHOUT_EFFECT = {
    "metadata": {"a": "b"},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
}
REFUSED = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "x", "format": "wav"},
    "moderation": {"model": "x"},
    "web_search_options": {},
    "store": True,
    "verbosity": "low",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
}


def ask(gateway: Gateway, **fields: Any) -> Any:
    """The answer of SmolLM2; eight tokens, greedily, unless `fields` say otherwise."""
    given = {"messages": STORY, "temperature": 0, "max_tokens": 8} | fields
    return gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=given.pop("messages"), extra_body=given
    )


def text(gateway: Gateway, **fields: Any) -> str:
    return ask(gateway, **fields).choices[0].message.content


def token_of(gateway: Gateway, word: str) -> int:
    body = {"model": gateway.chat_model, "content": word}
    (token,) = gateway.http.post("/tokenize", json=body).json()["tokens"]
    return token


def model(gateway: Gateway) -> None:
    assert ask(gateway).model == gateway.chat_model


def messages(gateway: Gateway) -> None:
    longer = [*STORY, {"role": "assistant", "content": "No."}, *STORY]
    assert ask(gateway, messages=longer).usage.prompt_tokens > ask(gateway).usage.prompt_tokens


def stream(gateway: Gateway) -> None:
    given: Any = {"messages": STORY, "temperature": 0, "extra_body": {"regex": "[a-z ]{9}"}}
    chunks = list(
        gateway.client.chat.completions.create(model=gateway.chat_model, stream=True, **given)
    )
    assert len(chunks) > 2
    with gateway.client.chat.completions.stream(model=gateway.chat_model, **given) as events:
        found = events.get_final_completion().choices[0].message.content
    assert found == "".join(c.choices[0].delta.content or "" for c in chunks)


def stream_options(gateway: Gateway) -> None:
    *_, last = gateway.client.chat.completions.create(
        model=gateway.chat_model,
        messages=STORY,
        max_tokens=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert last.usage is not None


def max_tokens(gateway: Gateway) -> None:
    found = ask(gateway, max_tokens=3, ignore_eos=True)
    assert (found.usage.completion_tokens, found.choices[0].finish_reason) == (3, "length")


def max_completion_tokens(gateway: Gateway) -> None:
    found = ask(gateway, max_tokens=None, max_completion_tokens=3, ignore_eos=True)
    assert (found.usage.completion_tokens, found.choices[0].finish_reason) == (3, "length")


def temperature(gateway: Gateway) -> None:
    assert len({text(gateway, temperature=2, seed=seed) for seed in range(4)}) > 1
    assert len({text(gateway, temperature=0, seed=seed) for seed in range(3)}) == 1


def narrows(name: str, value: float) -> Callable[[Gateway], None]:
    """Even at the highest temperature hardly anything but the likeliest is left."""

    def check(gateway: Gateway) -> None:
        assert text(gateway, temperature=2, seed=1, **{name: value}) == text(gateway)

    return check


def typical_p(gateway: Gateway) -> None:
    wide = {text(gateway, temperature=2, seed=seed) for seed in range(4)}
    narrow = {text(gateway, temperature=2, seed=seed, typical_p=1e-6) for seed in range(4)}
    assert len(narrow) == 1 < len(wide)


def seed(gateway: Gateway) -> None:
    assert text(gateway, temperature=1, seed=3) == text(gateway, temperature=1, seed=3)
    assert len({text(gateway, temperature=1, seed=seed) for seed in range(4)}) > 1


def stop(gateway: Gateway) -> None:
    whole = text(gateway)
    word = whole.split()[2]
    assert text(gateway, stop=[word]) == whole[: whole.index(word)]


def n(gateway: Gateway) -> None:
    assert len(ask(gateway, n=3, max_tokens=2).choices) == 3


def logprobs(gateway: Gateway) -> None:
    assert len(ask(gateway, logprobs=True).choices[0].logprobs.content) == 8


def top_logprobs(gateway: Gateway) -> None:
    found = ask(gateway, logprobs=True, top_logprobs=4).choices[0].logprobs.content
    assert {len(each.top_logprobs) for each in found} == {4}


def logit_bias(gateway: Gateway) -> None:
    token = token_of(gateway, " fox")
    assert text(gateway, max_tokens=3, logit_bias={str(token): 100}) == " fox fox fox"


def discourages(name: str, value: float) -> Callable[[Gateway], None]:
    """What is favoured so that it would repeat for ever does not."""

    def check(gateway: Gateway) -> None:
        token = str(token_of(gateway, " fox"))

        def foxes(**penalty: float) -> int:
            return sum(
                text(gateway, max_tokens=12, logit_bias={token: bias}, **penalty).count(" fox")
                for bias in (8, 10, 12, 14)
            )

        assert foxes(**{name: value}) < foxes()

    return check


def presence_penalty(gateway: Gateway) -> None:
    assert text(gateway, max_tokens=40, presence_penalty=2) != text(gateway, max_tokens=40)


def ignore_eos(gateway: Gateway) -> None:
    found = ask(gateway, messages=[{"role": "user", "content": "Hi"}], max_tokens=60)
    more = ask(
        gateway, messages=[{"role": "user", "content": "Hi"}], max_tokens=60, ignore_eos=True
    )
    assert found.choices[0].finish_reason == "stop"
    assert more.usage.completion_tokens == 60


def response_format(gateway: Gateway) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert "n" in json.loads(text(gateway, max_tokens=60, response_format=wanted))
    cut = ask(gateway, max_tokens=1, response_format=wanted)
    assert cut.choices[0].finish_reason == "length"  # cut off, and told so
    for kind in ("json_object", "json_schema"):  # as llama.cpp's server takes it
        wanted = {"type": kind, "schema": {"enum": [1, 2]}}
        assert text(gateway, temperature=2, response_format=wanted) in ("1", "2")


def grammar(gateway: Gateway) -> None:
    assert text(gateway, grammar='start: "up" | "down"') in ("up", "down")
    assert text(gateway, grammar='root ::= "up" | "down"') in ("up", "down")


def regex(gateway: Gateway) -> None:
    assert text(gateway, temperature=2, regex="[0-9]{3}").isdecimal()


def json_schema(gateway: Gateway) -> None:
    assert text(gateway, temperature=2, json_schema={"enum": [1, 2]}) in ("1", "2")


def guided_json(gateway: Gateway) -> None:
    for schema in ({"enum": [1, 2]}, '{"enum": [1, 2]}'):
        assert text(gateway, temperature=2, guided_json=schema) in ("1", "2")


def guided_regex(gateway: Gateway) -> None:
    assert text(gateway, temperature=2, guided_regex="[0-9]{3}").isdecimal()


def guided_choice(gateway: Gateway) -> None:
    choices = ['up "high"\n', "down\\n", "Größe"]
    found = {text(gateway, temperature=2, seed=n, guided_choice=choices) for n in range(6)}
    assert found <= set(choices)
    assert len(found) > 1


def guided_grammar(gateway: Gateway) -> None:
    assert text(gateway, guided_grammar='root ::= "up" | "down"') in ("up", "down")


def structured_outputs(gateway: Gateway) -> None:
    for wanted in (
        {"json": {"enum": [1, 2]}},
        {"regex": "[12]"},
        {"choice": ["1", "2"]},
        {"grammar": 'root ::= "1" | "2"'},
    ):
        assert text(gateway, temperature=2, structured_outputs=wanted) in ("1", "2")
    found = text(gateway, max_tokens=60, structured_outputs={"json_object": True})
    assert found.startswith("{")


EFFECTS: dict[str, Callable[[Gateway], None]] = {
    check.__name__: check
    for check in (
        model,
        messages,
        stream,
        stream_options,
        max_tokens,
        max_completion_tokens,
        temperature,
        typical_p,
        seed,
        stop,
        n,
        logprobs,
        top_logprobs,
        logit_bias,
        presence_penalty,
        ignore_eos,
        response_format,
        grammar,
        regex,
        json_schema,
        guided_json,
        guided_regex,
        guided_choice,
        guided_grammar,
        structured_outputs,
    )
} | {
    "top_p": narrows("top_p", 0),
    "top_k": narrows("top_k", 1),
    "min_p": narrows("min_p", 1),
    "frequency_penalty": discourages("frequency_penalty", 2),
    "repeat_penalty": discourages("repeat_penalty", 3),
    "repetition_penalty": discourages("repetition_penalty", 3),
}


@pytest.mark.parametrize(
    ("sdk", "ours"),
    [
        (chat_params.CompletionCreateParamsStreaming, ChatRequest),
        (completion_params.CompletionCreateParamsStreaming, CompletionRequest),
        (embedding_params.EmbeddingCreateParams, EmbeddingRequest),
    ],
)
def test_all_that_the_sdk_can_say_is_known(sdk: Any, ours: Any) -> None:
    """What is not known would be ignored in silence."""
    assert sdk.__required_keys__ | sdk.__optional_keys__ <= {*ours.__struct_fields__}


def test_no_parameter_is_forgotten() -> None:
    known = EFFECTS.keys() | WITHOUT_EFFECT.keys() | REFUSED.keys() | ELSEWHERE
    assert set(ChatRequest.__struct_fields__) <= known


@pytest.mark.parametrize("name", EFFECTS)
def test_it_has_an_effect(local_gateway: Gateway, name: str) -> None:
    EFFECTS[name](local_gateway)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_it_is_taken_and_changes_nothing(local_gateway: Gateway, name: str) -> None:
    assert text(local_gateway, **{name: WITHOUT_EFFECT[name]}) == text(local_gateway)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(local_gateway: Gateway, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(local_gateway, **{name: REFUSED[name]})
    assert caught.value.param == name


SCHEMAS: list[Any] = [
    {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["day", "tags", "size"],
        "additionalProperties": False,
    },
    {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-z]{2,6}$"}]},
    {"oneOf": [{"const": 1}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}]},
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_hottest_answer_validates(local_gateway: Gateway, schema: Any, seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = text(local_gateway, temperature=2, seed=seed, max_tokens=100, response_format=wanted)
    draft = jsonschema.Draft202012Validator
    draft(schema, format_checker=draft.FORMAT_CHECKER).validate(json.loads(found))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["x"] * 1_000_000}, "stop"),
        ({"stop": "x" * 1_000_000}, "stop"),
        ({"grammar": "x" * 1_000_000}, "grammar"),
        ({"grammar": 'root ::= "' + "x" * 1_000_000 + '"'}, "grammar"),
        ({"regex": "(" * 500_000 + ")" * 500_000}, "regex"),
        ({"grammar": 'start: "x"', "regex": "x"}, "grammar"),
        ({"grammar": 'start: "x"', "response_format": {"type": "json_object"}}, "grammar"),
        ({"regex": "x", "response_format": {"type": "json_object"}}, "regex"),
        ({"guided_json": {}, "guided_choice": ["x"]}, "guided_json"),
        ({"guided_choice": ["x"], "response_format": {"type": "json_object"}}, "guided_choice"),
        ({"structured_outputs": {"regex": "x", "choice": ["x"]}}, "structured_outputs.regex"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"guided_json": {"type": "string", "pattern": "(?=x)"}}, "guided_json"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_choice": ["a\x00"]}, "guided_choice[0]"),
        ({"guided_choice": ["x" * 900] * 40}, "guided_choice"),
        ({"guided_grammar": "x", "ignore_eos": True}, "ignore_eos"),
        ({"grammar": 'start: "x"', "ignore_eos": True}, "ignore_eos"),
        ({"grammar": ""}, "grammar"),
        ({"grammar": "\n" * 100_000}, "grammar"),
        ({"grammar": {"type": "gbnf", "value": "[" * 32_000}}, "grammar"),
        ({"regex": "x" * 32_001}, "regex"),
        ({"repeat_penalty": 1e-38}, "repeat_penalty"),
        ({"repetition_penalty": 0.0099}, "repetition_penalty"),
        ({"grammar": {"type": "bnf", "value": "x"}}, "grammar.type"),
        ({"regex": "(a"}, "regex"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"enum": ["x" * 1_000_000]}},
                }
            },
            "response_format",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_too_much_or_contradicts_is_a_400(
    local_gateway: Gateway, fields: dict[str, Any], param: str
) -> None:
    body = {"model": local_gateway.chat_model, "messages": STORY, "max_tokens": 4, **fields}
    answer = local_gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text[:300]
    assert answer.json()["error"]["param"] == param
    assert len(answer.text) < 1000
    assert text(local_gateway, max_tokens=2)
