"""Requests into the engines' terms; what is not built is refused by name."""

from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from openai.types.chat import ChatCompletion
from openai.types.shared import ReasoningEffort

from gateway.convert.chat import (
    NEUTRAL,
    ensemble_request,
    generate_request,
    refuse_unsupported,
)
from gateway.convert.embeddings import embedding_items, embedding_rows
from gateway.convert.sampling import copies
from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from gateway.schema.embeddings import EmbeddingRequest
from models.settings import ModelSettings, SamplingDefaults
from models.types import ChatPrompt, EmbedResult, Message, Tool, ToolCall, ToolUse

SETTINGS = ModelSettings(id="m", kind="fake")


def chat(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return msgspec.json.decode(msgspec.json.encode(body), type=ChatRequest)


def test_roles_and_parts_become_text() -> None:
    request = chat(
        messages=[
            {"role": "developer", "content": "be kind"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "42", "tool_call_id": "t"},
            {"role": "function", "content": "43", "name": "g"},
        ]
    )
    prompt = generate_request(request, SETTINGS, "o").prompt
    assert prompt == ChatPrompt(
        (
            Message("system", "be kind"),
            Message("user", "ab"),
            Message("assistant", "", (ToolCall("t", "f", "{}"),), reasoning="hm"),
            Message("tool", "42", tool_call_id="t"),
            Message("tool", "43", tool_call_id="g", name="g"),
        )
    )


def test_names_and_refusals_reach_the_model() -> None:
    request = chat(
        messages=[
            {"role": "system", "content": "be kind", "name": "boss"},
            {"role": "developer", "content": "be brief", "name": "dev"},
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "assistant", "refusal": "No.", "name": "bot"},
            {"role": "assistant", "content": "Yes.", "refusal": "No."},
        ]
    )
    prompt = generate_request(request, SETTINGS, "o").prompt
    assert prompt == ChatPrompt(
        (
            Message("system", "be kind", name="boss"),
            Message("system", "be brief", name="dev"),
            Message("user", "hi", name="ann"),
            Message("assistant", "No.", name="bot"),
            Message("assistant", "Yes."),
        )
    )


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("reasoning_effort", ReasoningEffort),
        ("service_tier", ChatCompletion.model_fields["service_tier"].annotation),
    ],
)
def test_every_value_that_the_sdk_knows_is_taken(field: str, kind: Any) -> None:
    values = [value for one in get_args(kind) for value in get_args(one)]
    assert len(values) > 5
    for value in values:
        request = chat(**{field: value})
        refuse_unsupported(request)
        assert getattr(request, field) == value


def test_a_request_wins_over_the_model_and_the_model_over_the_api() -> None:
    settings = ModelSettings(
        id="m",
        kind="fake",
        max_tokens=50,
        sampling=SamplingDefaults(temperature=0.2, top_k=40),
    )
    found = generate_request(chat(temperature=0, stop="x", seed=7), settings, "alice")
    assert found.sampling.temperature == 0
    assert (found.sampling.top_k, found.sampling.top_p, found.sampling.seed) == (40, 1.0, 7)
    assert (found.max_tokens, found.stop, found.owner) == (50, ("x",), "alice")
    assert generate_request(chat(max_completion_tokens=3), settings, "o").max_tokens == 3


@pytest.mark.parametrize(
    ("field", "neutral", "refused"),
    [
        ("modalities", ["text"], ["text", "audio"]),
        ("audio", None, {"voice": "x", "format": "wav"}),
        ("moderation", None, {"model": "x"}),
        ("web_search_options", None, {}),
        ("store", False, True),
        ("verbosity", "medium", "low"),
        ("prompt_cache_retention", "in_memory", "24h"),
        ("prompt_cache_options", {}, {"mode": "explicit"}),
    ],
)
def test_what_is_not_built_is_refused_unless_neutral(
    field: str, neutral: Any, refused: Any
) -> None:
    refuse_unsupported(chat(**{field: neutral}))
    refuse_unsupported(chat(**{field: None}))
    with pytest.raises(BadRequest) as caught:
        refuse_unsupported(chat(**{field: refused}))
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("field", "neutral", "refused"),
    [
        ("stop", [], ["x"]),
        ("top_k", 0, 3),
        ("min_p", 0, 0.1),
        ("typical_p", 1, 0.5),
        ("n", 1, 2),
        ("logprobs", False, True),
        ("logit_bias", {}, {"1": 5}),
        ("presence_penalty", 0, 0.5),
        ("frequency_penalty", 0.0, -1),
        ("repeat_penalty", 1.0, 1.1),
        ("repetition_penalty", 1, 1.1),
        ("ignore_eos", False, True),
        ("grammar", None, 'start: "x"'),
        ("regex", None, "x"),
    ],
)
def test_what_members_cannot_follow_is_refused_unless_neutral(
    field: str, neutral: Any, refused: Any
) -> None:
    ensemble_request(chat(**{field: neutral}), "ann")
    with pytest.raises(BadRequest) as caught:
        ensemble_request(chat(**{field: refused}), "ann")
    assert caught.value.param == field


def test_every_parameter_of_the_sampler_reaches_it() -> None:
    given = {
        "typical_p": 0.5,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.5,
        "repeat_penalty": 1.5,
        "logit_bias": {"7": -100, "9": 2.5},
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 3,
    }
    found = generate_request(chat(**given), SETTINGS, "ann").sampling
    assert (found.typical_p, found.presence_penalty, found.frequency_penalty) == (0.5, 0.25, -0.5)
    assert found.repetition_penalty == 1.5
    assert found.logit_bias == ((7, -100.0), (9, 2.5))
    assert found.ignore_eos
    assert found.logprobs == 3


def test_choices_draw_from_streams_of_their_own_that_the_seed_decides() -> None:
    request = generate_request(chat(seed=2**63 - 1), SETTINGS, "ann")
    seeds = [one.sampling.seed for one in copies(request, 3)]
    assert seeds == [2**63 - 1, -(2**63), -(2**63) + 1]
    assert copies(generate_request(chat(), SETTINGS, "ann"), 3)[2].sampling.seed is None


def test_every_unbuilt_parameter_is_tried_above() -> None:
    marks = test_what_is_not_built_is_refused_unless_neutral.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(NEUTRAL)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "messages[0].content[0].type",
        ),
        ({"role": "assistant", "audio": {"id": "1"}}, "messages[0].audio"),
    ],
)
def test_content_that_is_not_text_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        generate_request(chat(messages=[message]), SETTINGS, "o")
    assert caught.value.param == param


def test_the_two_limits_may_agree_but_not_differ() -> None:
    refuse_unsupported(chat(max_tokens=3, max_completion_tokens=3))
    with pytest.raises(BadRequest) as caught:
        refuse_unsupported(chat(max_tokens=3, max_completion_tokens=4))
    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
    ],
)
def test_the_forms_of_an_embedding_input(given: Any, expected: Any) -> None:
    assert embedding_items(EmbeddingRequest(model="m", input=given)) == expected


@pytest.mark.parametrize("given", ["", [], [""], [[]], ["a", ""], ["a", 1], [1, [2]], ["a"] * 2049])
def test_a_bad_embedding_input_names_input(given: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        embedding_items(EmbeddingRequest(model="m", input=given))
    assert caught.value.param == "input"


def test_dimensions_cut_and_renormalise() -> None:
    vectors = np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]], dtype="<f4")
    result = EmbedResult(vectors.tobytes(), 3, (1, 1))
    rows = embedding_rows(result, 2, "float")
    assert rows[0].embedding == pytest.approx([1.0, 0.0])
    assert rows[1].embedding == [0.0, 0.0]
    with pytest.raises(BadRequest) as caught:
        embedding_rows(result, 4, None)
    assert caught.value.param == "dimensions"


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
SOME = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CLOCK]}}


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({}, ToolUse(("weather", "clock"))),
        ({"tool_choice": "auto"}, ToolUse(("weather", "clock"))),
        ({"tool_choice": "required"}, ToolUse(("weather", "clock"), required=True)),
        ({"parallel_tool_calls": False}, ToolUse(("weather", "clock"), parallel=False)),
        (
            {"tool_choice": {"type": "function", "function": {"name": "clock"}}},
            ToolUse(("clock",), required=True, parallel=False),
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [CLOCK]},
                }
            },
            ToolUse(("clock",)),
        ),
    ],
)
def test_which_tools_may_be_called(fields: dict[str, Any], use: ToolUse) -> None:
    request = generate_request(chat(tools=[WEATHER, CLOCK], **fields), SETTINGS, "o")
    assert request.tool_use == use
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.tools == (
        Tool("weather", "", '{"type":"object"}'),
        Tool("clock", "", '{"type":"object","properties":{}}'),
    )


def test_no_tool_is_presented_where_none_may_be_called() -> None:
    request = generate_request(chat(tools=[CLOCK], tool_choice="none"), SETTINGS, "o")
    assert isinstance(request.prompt, ChatPrompt)
    assert (request.prompt.tools, request.tool_use) == ((), None)


def test_templates_get_their_variables_and_the_effort() -> None:
    request = chat(chat_template_kwargs={"a": [1]}, reasoning_effort="low")
    prompt = generate_request(request, SETTINGS, "o").prompt
    assert isinstance(prompt, ChatPrompt)
    assert (prompt.variables, prompt.effort) == ((("a", "[1]"),), "low")
