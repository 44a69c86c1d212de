"""An ensemble through the official client: votes, citations, overrides, and declining."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import openai
import pydantic
import pytest

from gateway.config_files import Configuration
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.settings import StoreSettings
from models.engines.fake import FakeEngine
from models.settings import ModelSettings
from models.types import GenerateRequest
from models.upstream_settings import UpstreamSettings
from tests.contract.serving import configuration, serve, wait_ready
from tests.real_models import MINILM

QUESTION: list[Any] = [{"role": "user", "content": "What colour is the lamp of the router?"}]
DOCUMENT = "The lamp of the router is blue. It blinks while the router starts.\n"


def reply(request: GenerateRequest) -> str:
    """A member that has read the only passage."""
    return json.dumps(
        {
            "answer_value": "blue",
            "answer_unit": "",
            "passages": [1],
            "is_blank": False,
            "answer": "The lamp is blue.",
            "explanation": "It says so.",
        }
    )


class Served(NamedTuple):
    client: openai.OpenAI
    http: httpx.Client
    engine: FakeEngine


def with_ensemble(found: Configuration) -> Configuration:
    (found.directory / "docs").mkdir()
    (found.directory / "docs" / "router.txt").write_text(DOCUMENT)
    ensemble = EnsembleSettings(
        id="panel",
        description="Three of one mind",
        members=tuple(Member(model="fake", name=name) for name in ("a", "b", "c")),
        stores=("docs",),
        score_floor=0.2,
        extractive=False,
    )
    stores = [StoreSettings(name="docs", paths=["docs"])]
    return msgspec.structs.replace(
        found,
        settings=msgspec.structs.replace(found.settings, stores=stores),
        ensembles={
            "panel": ensemble,
            "caller": msgspec.structs.replace(ensemble, id="caller", tools_member="b"),
        },
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("ensembles")
    engine = FakeEngine(reply=reply)
    with (
        serve(
            with_ensemble(configuration(folder, models=("fake", MINILM))),
            {"fake": engine, MINILM.id: FakeEngine()},
        ) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        wait_ready(http)
        yield Served(client, http, engine)


def test_an_answer_has_votes_sources_and_citations(served: Served) -> None:
    found = served.client.chat.completions.create(model="panel", messages=QUESTION)
    message = found.choices[0].message
    assert found.choices[0].finish_reason == "stop"
    assert message.content is not None
    assert "blue" in message.content
    assert message.annotations
    citation = message.annotations[0].url_citation
    assert "[1]" in message.content[citation.start_index : citation.end_index]
    extra = found.model_extra
    assert extra is not None
    report = extra["ensemble"]
    assert [vote["model"] for vote in report["votes"]]
    assert len(report["votes"]) == 3
    assert report["answer_value"] == "blue"
    assert report["is_blank"] is False
    assert report["ref_id"] == ["router"]
    assert report["sources"][0]["filename"] == "router.txt"
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"]
    assert found.usage is not None
    assert found.usage.total_tokens > 0
    assert extra["timings"]["retrieval_ms"] > 0
    assert extra["timings"]["vote_ms"] > 0


def test_the_stream_deliberates_then_answers(served: Served) -> None:
    order: list[str] = []
    text = reasoning = ""
    last: Any = None
    usage: Any = None
    stream = served.client.chat.completions.create(
        model="panel", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if not chunk.choices:
            usage = chunk
            continue
        delta = chunk.choices[0].delta
        thought = (delta.model_extra or {}).get("reasoning_content")
        if thought:
            order.append("reasoning")
            reasoning += thought
        if delta.content:
            order.append("content")
            text += delta.content
        if chunk.choices[0].finish_reason:
            last = chunk
    whole = served.client.chat.completions.create(model="panel", messages=QUESTION)
    assert order == sorted(order, reverse=True)  # all reasoning before all content
    assert text == whole.choices[0].message.content
    assert reasoning
    assert last.choices[0].finish_reason == "stop"
    assert last.model_extra["ensemble"]["answer_value"] == "blue"
    assert last.choices[0].delta.model_extra["annotations"]
    assert usage.usage.total_tokens > 0


def test_it_answers_as_batch_work_too(served: Served) -> None:
    found = served.client.chat.completions.create(
        model="panel", messages=QUESTION, service_tier="flex"
    )
    assert found.service_tier == "flex"
    assert found.choices[0].message.content


def test_what_is_not_in_the_documents_is_declined(served: Served) -> None:
    found = served.client.chat.completions.create(
        model="panel", messages=[{"role": "user", "content": "Qwx zyv mnb?"}]
    )
    assert found.model_extra is not None
    assert found.model_extra["ensemble"]["is_blank"] is True
    assert found.model_extra["ensemble"]["ref_id"] == []
    assert found.choices[0].message.annotations == []


def test_overrides(served: Served) -> None:
    found = served.client.chat.completions.create(
        model="panel",
        messages=QUESTION,
        extra_body={"ensemble": {"members": ["fake", "fake"], "vector_store_ids": ["docs"]}},
    )
    assert found.model_extra is not None
    assert len(found.model_extra["ensemble"]["votes"]) == 2


def test_a_plain_model_with_an_override_is_an_ensemble_of_one(served: Served) -> None:
    found = served.client.chat.completions.create(
        model="fake", messages=QUESTION, extra_body={"ensemble": {}}
    )
    assert found.model == "fake"
    assert found.model_extra is not None
    assert len(found.model_extra["ensemble"]["votes"]) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"ensemble": {"vector_store_ids": ["nope"]}}, 404, "ensemble.vector_store_ids"),
        ({"ensemble": {"top_k": 99}}, 400, "ensemble.top_k"),
        ({"ensemble": {"memberz": ["a"]}}, 400, "ensemble.memberz"),
        ({"ensemble": {"strategy": "coin"}}, 400, "ensemble.strategy"),
        ({"stop": ["x"]}, 400, "stop"),
        ({"top_k": 5}, 400, "top_k"),
        ({"min_p": 0.1}, 400, "min_p"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "a"}]}, 400, "messages"),
    ],
)
def test_a_bad_request_has_its_status_streamed_or_not(
    served: Served, fields: dict[str, Any], status: int, param: str, stream: bool
) -> None:
    body = {"model": "panel", "messages": QUESTION, "stream": stream, **fields}
    answer = served.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_unknown_member_is_the_clients_mistake(served: Served) -> None:
    body = {"model": "panel", "messages": QUESTION, "ensemble": {"members": ["nope"]}}
    answer = served.http.post("/v1/chat/completions", json=body)
    assert answer.status_code in (400, 404)
    assert "nope" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_member_that_cannot_answer_is_the_clients_mistake(served: Served, stream: bool) -> None:
    body = {"model": "panel", "messages": QUESTION, "stream": stream}
    answer = served.http.post(
        "/v1/chat/completions", json={**body, "ensemble": {"members": [MINILM.id]}}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "ensemble.members"
    assert MINILM.id in answer.json()["error"]["message"]


def test_it_is_listed_and_healthy_but_does_not_embed(served: Served) -> None:
    listed = {model.id: model for model in served.client.models.list()}
    assert listed["panel"].model_extra is not None
    assert listed["panel"].model_extra["kind"] == "ensemble"
    assert served.http.get("/health").json()["ensembles"]["panel"]["state"] == "ready"
    with pytest.raises(openai.BadRequestError) as caught:
        served.client.embeddings.create(model="panel", input="a")
    assert caught.value.param == "model"


class Lamp(pydantic.BaseModel):
    colour: str
    blinks: bool


def in_schema(request: GenerateRequest) -> str:
    """Members that answer in the schema they are given, and a front-end's task as plain text."""
    constraint = request.constraint
    if constraint is None:
        return "A title"
    return '{"colour":"blue","blinks":true}' if "blinks" in constraint.grammar else reply(request)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = FakeEngine(reply=in_schema)
    found = with_ensemble(configuration(tmp_path_factory.mktemp("typed")))
    with (
        serve(found, {"fake": engine}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        wait_ready(http)
        yield Served(client, http, engine)


def test_it_answers_in_the_client_s_schema(typed: Served) -> None:
    found = typed.client.chat.completions.parse(
        model="panel", messages=QUESTION, response_format=Lamp
    )
    message = found.choices[0].message
    assert message.parsed == Lamp(colour="blue", blinks=True)
    assert message.refusal is None
    assert found.model_extra is not None
    assert found.model_extra["ensemble"]["ref_id"] == ["router"]
    with typed.client.chat.completions.stream(
        model="panel", messages=QUESTION, response_format=Lamp
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == message.parsed


def test_what_the_documents_do_not_say_is_refused_in_any_schema(typed: Served) -> None:
    asked: list[Any] = [{"role": "user", "content": "Qwx zyv mnb?"}]
    found = typed.client.chat.completions.parse(model="panel", messages=asked, response_format=Lamp)
    message = found.choices[0].message
    assert message.parsed is None
    assert message.content is None
    assert message.refusal
    with typed.client.chat.completions.stream(
        model="panel", messages=asked, response_format=Lamp
    ) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert streamed.refusal == message.refusal
    assert not streamed.content


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        ("### Task:\nWrite a title.\n<chat_history>\nUSER: Hi\n</chat_history>", {}),
        ("Write a title.", {"X-OpenWebUI-Task": "title_generation"}),
    ],
)
def test_a_front_end_s_task_is_answered_by_one_member_without_a_search(
    typed: Served, content: str, headers: dict[str, str]
) -> None:
    found = typed.client.chat.completions.create(
        model="panel", messages=[{"role": "user", "content": content}], extra_headers=headers
    )
    assert found.model == "panel"
    assert found.choices[0].message.content == "A title"
    assert found.model_extra is not None
    assert "ensemble" not in found.model_extra


@pytest.mark.parametrize("value", ["", "{{TASK}}"])
def test_a_header_that_names_no_task_is_none(typed: Served, value: str) -> None:
    found = typed.client.chat.completions.create(
        model="panel", messages=QUESTION, extra_headers={"X-OpenWebUI-Task": value}
    )
    assert found.model_extra is not None
    assert found.model_extra["ensemble"]["votes"]


def events_of(typed: Served, **fields: Any) -> list[dict[str, Any]]:
    headers = fields.pop("headers", {})
    body = {"model": "panel", "messages": QUESTION, "stream": True, **fields}
    with typed.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: {")]
    return [chunk["event"] for chunk in map(json.loads, lines) if "event" in chunk]


def test_open_webui_gets_its_own_events(typed: Served) -> None:
    assert events_of(typed) == []
    found = events_of(typed, headers={"X-OpenWebUI-Chat-Id": "1"})
    asked = events_of(typed, ensemble={"events": True})
    assert [event["type"] for event in asked] == [event["type"] for event in found]
    assert events_of(typed, ensemble={"events": False}, headers={"X-OpenWebUI-Chat-Id": "1"}) == []
    statuses = [event["data"] for event in found if event["type"] == "status"]
    assert [status["done"] for status in statuses] == [False] * (len(statuses) - 1) + [True]
    sources = [event["data"] for event in found if event["type"] == "source"]
    assert [source["source"]["name"] for source in sources] == ["router.txt"]
    assert DOCUMENT.strip() in sources[0]["document"][0]
    assert 0 < sources[0]["distances"][0] <= 1


def test_tools_that_open_webui_offers_unasked_are_passed_over(typed: Served) -> None:
    clock: Any = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    asked: dict[str, Any] = {"model": "panel", "messages": QUESTION, "tools": [clock]}
    front_end = {"X-OpenWebUI-Task": ""}
    found = typed.client.chat.completions.create(**asked, extra_headers=front_end)
    assert found.model_extra is not None
    assert found.model_extra["ensemble"]["votes"]
    for insisting, headers in (({}, {}), ({"tool_choice": "required"}, front_end)):
        with pytest.raises(openai.BadRequestError) as caught:
            typed.client.chat.completions.create(**asked, **insisting, extra_headers=headers)
        assert caught.value.param == "tools"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_passed_on_to_the_member_that_is_named_for_them(
    typed: Served, stream: bool
) -> None:
    clock: Any = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    asked: list[Any] = [{"role": "user", "content": "Look at the clock"}]
    chats = typed.client.chat.completions
    if stream:
        with chats.stream(model="caller", messages=asked, tools=[clock]) as events:
            found = events.get_final_completion()
    else:
        found = chats.create(model="caller", messages=asked, tools=[clock])
    (call,) = found.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "clock"
    assert found.model == "caller"
    assert found.choices[0].finish_reason == "tool_calls"
    whole = chats.create(model="caller", messages=QUESTION)
    assert whole.model_extra is not None
    assert len(whole.model_extra["ensemble"]["votes"]) == 3
    picked: Any = {"ensemble": {"members": ["a"]}}
    one = chats.create(model="caller", messages=QUESTION, extra_body=picked)
    assert one.model_extra is not None
    assert len(one.model_extra["ensemble"]["votes"]) == 1


def test_the_deliberation_can_be_left_out(typed: Served) -> None:
    found = typed.client.chat.completions.create(
        model="panel", messages=QUESTION, extra_body={"ensemble": {"deliberation": False}}
    )
    assert "reasoning_content" not in (found.choices[0].message.model_extra or {})


def test_a_member_elsewhere_votes_costs_and_may_fail(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAR_KEY", raising=False)
    far = UpstreamSettings(server="jurat", model="fake", input_cost=1e6, output_cost=0)
    source = f"upstream:{str(served.http.base_url).rstrip('/')}/v1"
    models = (
        "fake",
        ModelSettings(id="far", kind="chat", source=source, upstream=far),
        ModelSettings(
            id="locked",
            kind="chat",
            source=source,
            upstream=msgspec.structs.replace(far, api_key_env="FAR_KEY"),
        ),
    )
    found = with_ensemble(configuration(tmp_path, models=models))
    members = tuple(Member(model=name) for name in ("fake", "far", "locked"))
    mixed = msgspec.structs.replace(found.ensembles["panel"], members=members)
    found = msgspec.structs.replace(found, ensembles={"panel": mixed})
    with (
        serve(found, {"fake": FakeEngine(reply=reply)}) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        wait_ready(http)
        body = {"model": "panel", "messages": QUESTION}
        answer = http.post("/v1/chat/completions", json=body).json()
    votes = {vote["model"]: vote for vote in answer["ensemble"]["votes"]}
    assert [votes[name]["answer_value"] for name in ("fake", "far")] == ["blue", "blue"]
    assert "FAR_KEY" in votes["locked"]["error"]
    assert answer["ensemble"]["answer_value"] == "blue"
    # Of the two who answered, one was paid for: a unit a token of its prompt.
    assert 0 < answer["usage"]["cost"] < answer["usage"]["prompt_tokens"]
