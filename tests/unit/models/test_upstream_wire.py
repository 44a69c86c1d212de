"""Requests and events of the upstream engine, and its circuit: the pure parts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import ValidationError, convert
from msgspec.structs import replace

from models.errors import InvalidRequest, SourceError, Unsupported
from models.settings import ModelSettings
from models.sources import upstream_url
from models.types import (
    ChatPrompt,
    Constraint,
    GenerateRequest,
    Message,
    Sampling,
    TextPrompt,
    TokenPrompt,
    Tool,
    ToolCall,
    ToolUse,
)
from models.upstream import faults
from models.upstream.bodies import generation
from models.upstream.chunks import StreamReader
from models.upstream.circuit import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, Circuit, backoff
from models.upstream.dialects import DIALECTS
from models.upstream.sse import EventReader
from models.upstream_settings import Server, UpstreamSettings

CHAT = GenerateRequest(ChatPrompt((Message("user", "Hi"),)))


def body(request: GenerateRequest, server: Server = "openai") -> dict[str, Any]:
    return generation(request, "m", DIALECTS[server])[1]


def test_a_plain_request_says_what_the_server_would_not_do_by_itself() -> None:
    plain = {"model", "stream", "stream_options", "messages"}
    assert set(body(CHAT)) == plain
    # These have defaults of their own, so they are told.
    told = body(CHAT, "llama-server")
    assert (told["temperature"], told["top_k"], told["min_p"]) == (1.0, 0, 0.0)
    assert told["repeat_penalty"] == 1.0
    assert set(body(CHAT, "openrouter")) == plain


@pytest.mark.parametrize("name", ["top_k", "min_p", "typical_p", "repetition_penalty"])
def test_sampling_that_a_server_does_not_know_is_refused_by_name(name: str) -> None:
    request = replace(CHAT, sampling=replace(Sampling(), **{name: 0.5}))
    with pytest.raises(Unsupported, match=f"'{name}'") as raised:
        body(request)
    assert raised.value.param == name
    assert 0.5 in body(request, "jurat").values()


def test_no_mass_at_all_is_the_likeliest_token() -> None:
    found = body(replace(CHAT, sampling=Sampling(top_p=0.0, top_k=1)))
    assert (found["temperature"], "top_p" in found, "top_k" in found) == (0.0, False, False)


@pytest.mark.parametrize(
    ("kind", "servers"),
    [
        ("json_schema", {"openai", "openrouter", "vllm", "llama-server", "jurat"}),
        ("gbnf", {"vllm", "llama-server", "jurat"}),
        ("regex", {"vllm", "jurat"}),
        ("lark", {"jurat"}),
    ],
)
def test_a_format_is_passed_on_or_refused(kind: Any, servers: set[str]) -> None:
    request = replace(CHAT, constraint=Constraint(kind, '{"type": "integer"}'))
    for server in DIALECTS:
        if server in servers:
            assert "integer" in str(body(request, server))
        else:
            with pytest.raises(Unsupported):
                body(request, server)


def test_any_object_is_a_format_of_its_own() -> None:
    found = body(replace(CHAT, constraint=Constraint("json_schema", '{"type":"object"}')))
    assert found["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("grammar", ["{", "[]", "3", "[" * 100_000])
def test_what_is_no_schema_is_refused(grammar: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        body(replace(CHAT, constraint=Constraint("json_schema", grammar)))
    assert raised.value.param == "response_format"


def test_turns_tools_and_choices() -> None:
    called = Message("assistant", "", (ToolCall("c", "f", "{}"),), reasoning="hm")
    turns = (Message("user", "x", name="ann"), called, Message("tool", "1", tool_call_id="c"))
    tools = (Tool("f", "", '{"type": "object"}'), Tool("g", "", "{}"))
    chat = replace(CHAT, prompt=ChatPrompt(turns, tools, effort="low"))
    found = body(replace(chat, tool_use=ToolUse(("f",), required=True, parallel=False)))
    user, assistant, answer = found["messages"]
    assert user["name"] == "ann"
    assert (assistant["content"], assistant["tool_calls"][0]["id"]) == (None, "c")
    assert "reasoning_content" not in assistant
    assert answer["tool_call_id"] == "c"
    assert [tool["function"]["name"] for tool in found["tools"]] == ["f"]
    assert found["tool_choice"] == "required"
    assert found["parallel_tool_calls"] is False
    assert found["reasoning_effort"] == "low"
    free = body(replace(chat, tool_use=ToolUse(("f", "g"))), "vllm")
    assert len(free["tools"]) == 2
    assert "tool_choice" not in free
    assert free["messages"][1]["reasoning_content"] == "hm"
    assert body(replace(chat, tool_use=ToolUse(("f", "g"), True)))["tool_choice"] == "required"


def test_text_and_tokens_go_to_completions() -> None:
    for prompt, expected in ((TextPrompt("a"), "a"), (TokenPrompt((1, 2)), [1, 2])):
        path, found = generation(replace(CHAT, prompt=prompt), "m", DIALECTS["openai"])
        assert (path, found["prompt"]) == ("completions", expected)
    with pytest.raises(InvalidRequest, match="-1"):
        body(replace(CHAT, prompt=TokenPrompt((-1,))))


@pytest.mark.parametrize("server", DIALECTS)
def test_the_rest(server: Server) -> None:
    sampling = Sampling(seed=-1, logit_bias=((5, 1.5),), logprobs=3, frequency_penalty=0.5)
    found = body(replace(CHAT, max_tokens=9, stop=("x",), sampling=sampling), server)
    assert found[DIALECTS[server].max_tokens] == 9
    assert (found["stop"], found["logit_bias"], found["seed"]) == (["x"], {"5": 1.5}, 2**32 - 1)
    assert (found["logprobs"], found["top_logprobs"]) == (True, 3)
    knows = DIALECTS[server]
    for allowed, request in (
        (knows.deterministic, replace(CHAT, deterministic=True)),
        (knows.template, replace(CHAT, prompt=replace(CHAT.prompt, variables=(("a", "1"),)))),
    ):
        if allowed:
            assert body(request, server)
        else:
            with pytest.raises(Unsupported):
                body(request, server)


@given(st.lists(st.text(min_size=1, max_size=9), max_size=5), st.data())
def test_events_are_found_wherever_the_stream_is_cut(texts: list[str], data: st.DataObject) -> None:
    events = [json.dumps(text, ensure_ascii=False).encode() for text in texts]
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    sent = b"".join(b": note" + end + b"data: " + event + end + end for event in events)
    reader, found, at = EventReader(), list[bytes](), 0
    while at < len(sent):
        step = data.draw(st.integers(1, 30))
        found += reader.feed(sent[at : at + step])
        at += step
    assert found == events


def test_the_older_form_of_probabilities() -> None:
    reader = StreamReader("m", 1)
    old = {
        "tokens": ["a", "bytes:\\xe2\\x82"],
        "token_logprobs": [-1.0, None],
        "top_logprobs": [{"a": -1.0, "b": -0.5}, None],
    }
    delta = reader.read(json.dumps({"choices": [{"text": "a", "logprobs": old}]}).encode())
    assert delta is not None
    first, second = delta.logprobs
    assert (first.piece, first.logprob, first.top) == (b"a", -1.0, ((b"b", -0.5),))
    assert second.piece == b"\xe2\x82"


def test_a_circuit_opens_tries_once_and_closes() -> None:
    now = 0.0
    circuit = Circuit(2, 10.0, lambda: now)
    circuit.failed()
    circuit.succeeded()
    circuit.failed()
    assert circuit.admit()
    circuit.failed()
    assert (circuit.state, circuit.admit(), circuit.wait_s) == ("open", False, 10.0)
    now = 10.0
    assert circuit.state == "half-open"
    assert circuit.admit()
    assert not circuit.admit()  # one trial at a time
    circuit.abandoned()
    assert circuit.admit()
    circuit.failed()
    assert circuit.state == "open"
    now = 20.0
    assert circuit.admit()
    circuit.succeeded()
    assert (circuit.state, circuit.admit(), circuit.admit()) == ("closed", True, True)


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_have_a_limit(attempt: int, jitter: float) -> None:
    wait = backoff(attempt, jitter)
    assert FIRST_BACKOFF_S / 2 <= wait <= LONGEST_BACKOFF_S
    assert backoff(attempt + 1, jitter) >= wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None), ("", None), (None, None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_what_retry_after_says(value: str | None, seconds: float | None) -> None:
    assert faults.retry_after(value) == seconds


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[1]",
        b'{"detail": [{"msg": "x"}]}',
        b'{"error": {}}',
        b"\xff",
        b"[" * 9999,
    ],
)
@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_every_error_body_has_a_message(content: bytes, status: int) -> None:
    assert "m" in str(faults.of_status("m", status, content, None, None))


@pytest.mark.parametrize(
    "source",
    ["upstream:", "upstream:there:80", "upstream:ftp://x", "upstream:http://", "upstream:http://x:y",
     "upstream:http://u:secret@x/v1", "upstream:http://x/?a=1", "upstream:http://x /v1"],
)  # fmt: skip
def test_a_source_that_is_no_url_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="'far'") as raised:
        upstream_url(ModelSettings(id="far", kind="chat", source=source))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"headers": {"Authorization": "Bearer x"}}, "api_key_env"),
        ({"headers": {"X-A": "a\nb"}}, "headers"),
        ({"api_key_env": "sk-12"}, "api_key_env"),
        ({"stop": ["x"]}, "start"),
        ({"start": ["x"], "idle_timeout_s": 3}, "stop"),
        ({"start": [""]}, "start"),
        ({"server": "other"}, "server"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(table: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        convert(table, UpstreamSettings)
