"""The file_search tool of /v1/responses, with a plain model and with an ensemble."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from msgspec.structs import replace

from gateway.ensemble.settings import EnsembleSettings, Member
from models.engines.fake import FakeEngine
from models.types import GenerateRequest
from tests.contract.serving import configuration, serve, wait_ready
from tests.contract.test_ensembles import reply as voter
from tests.contract.test_files import strict

LAMP = b"The lamp of the router is blue. It blinks while the router starts.\n"
PAPER = b"The printer takes two hundred sheets of paper.\n"
QUESTION = "What colour is the lamp of the router?"


def reply(request: GenerateRequest) -> str:
    """A model that cites: two that there are, one that there is not, and none in code."""
    text = request.prompt.messages[-1].content  # type: ignore[union-attr]
    if request.constraint is not None:
        return json.dumps({"numbers": [1, 7]})
    if "Passages from the documents" not in text:
        return "I do not know [1]."
    return "It is blue [1, 2] and loud [9]. See `lamp[7]`."


class Served(NamedTuple):
    alice: openai.OpenAI
    bob: openai.OpenAI
    http: httpx.Client
    engine: FakeEngine
    store: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("file_search")
    keys = ("alice:key-a", "bob:key-b")
    found = configuration(folder, models=("fake", "writer", "voter"), keys=keys)
    panel = EnsembleSettings(
        id="panel",
        description="Three of one mind",
        members=tuple(Member(model="voter", name=name) for name in ("a", "b", "c")),
        stores=(),
        score_floor=-1.0,
        extractive=False,
    )
    found = replace(found, ensembles={"panel": panel})
    writer = FakeEngine(reply=reply)
    engines = {"writer": writer, "voter": FakeEngine(reply=voter)}
    with (
        serve(found, engines) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as bob,
        httpx.Client(base_url=url, headers={"authorization": "Bearer key-a"}, timeout=20) as http,
    ):
        wait_ready(http)
        store = alice.vector_stores.create(name="docs").id
        for name, content, year in (("lamp.txt", LAMP, 2024), ("paper.txt", PAPER, 2023)):
            alice.vector_stores.files.upload_and_poll(
                vector_store_id=store, file=(name, content), attributes={"year": year}
            )
        yield Served(alice, bob, http, writer, store)


def tool(served: Served, **more: Any) -> Any:
    return {"type": "file_search", "vector_store_ids": [served.store], **more}


def test_an_answer_cites_the_passages_that_there_are(served: Served) -> None:
    found = strict(
        served.alice.responses.create(
            model="writer",
            input=QUESTION,
            tools=[tool(served)],
            include=["file_search_call.results"],
        )
    )
    search, message = found.output
    assert (search.type, search.status, search.queries) == (
        "file_search_call",
        "completed",
        [QUESTION],
    )
    assert search.results[0].filename == "lamp.txt"
    assert "blue" in search.results[0].text
    assert search.results[0].attributes == {"year": 2024}
    text = message.content[0].text
    assert text == "It is blue [1, 2] and loud. See `lamp[7]`."
    citations = message.content[0].annotations
    assert [(one.type, one.filename) for one in citations] == [
        ("file_citation", "lamp.txt"),
        ("file_citation", "paper.txt"),
    ]
    assert {one.index for one in citations} == {text.index("[1, 2]")}
    assert served.alice.files.retrieve(citations[0].file_id).filename == "lamp.txt"
    plain = served.alice.responses.retrieve(found.id)
    assert plain.output[0].results is None  # type: ignore[union-attr]
    again = served.alice.responses.retrieve(found.id, include=["file_search_call.results"])
    assert again.output == found.output


def test_its_events_in_their_order(served: Served) -> None:
    with served.alice.responses.stream(
        model="writer", input=QUESTION, tools=[tool(served)]
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:8] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.output_item.done",
        "response.output_item.added",
    ]
    assert kinds.count("response.output_text.annotation.added") == 2
    assert kinds[-1] == "response.completed"
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == final.output_text == "It is blue [1, 2] and loud. See `lamp[7]`."
    assert final.output[0].results is None  # type: ignore[union-attr]


def test_filters_numbers_and_thresholds(served: Served) -> None:
    def names(**more: Any) -> list[str]:
        found = served.alice.responses.create(
            model="writer",
            input=QUESTION,
            tools=[tool(served, **more)],
            include=["file_search_call.results"],
        )
        return [one.filename for one in found.output[0].results]  # type: ignore[union-attr]

    assert names() == ["lamp.txt", "paper.txt"]
    assert names(filters={"type": "eq", "key": "year", "value": 2023}) == ["paper.txt"]
    assert names(max_num_results=1) == ["lamp.txt"]
    assert names(ranking_options={"score_threshold": 1.0}) == []


def test_when_nothing_is_searched(served: Served) -> None:
    for choice in ("none", {"type": "function", "name": "f"}):
        found = served.alice.responses.create(
            model="writer",
            input=QUESTION,
            tools=[tool(served), {"type": "function", "name": "f", "parameters": {}}],  # type: ignore[list-item]
            tool_choice=choice,  # type: ignore[arg-type]
        )
        assert "file_search_call" not in [item.type for item in found.output]


def test_json_has_no_marks(served: Served) -> None:
    found = served.alice.responses.create(
        model="writer",
        input=QUESTION,
        tools=[tool(served)],
        text={"format": {"type": "json_object"}},
    )
    assert json.loads(found.output_text) == {"numbers": [1, 7]}
    assert found.output[1].content[0].annotations == []  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"vector_store_ids": ["vs_none"]}, "tools[0].vector_store_ids[0]"),
        ({"vector_store_ids": []}, "tools[0].vector_store_ids"),
        ({"filters": {"type": "like", "key": "a", "value": 1}}, "tools[0].filters.type"),
        ({"max_num_results": 51}, "tools[0].max_num_results"),
        (
            {"ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}},
            "tools[0].ranking_options.hybrid_search",
        ),
    ],
)
def test_what_is_refused_is_named(served: Served, change: dict[str, Any], param: str) -> None:
    body = {"model": "writer", "input": QUESTION, "tools": [tool(served, **change)]}
    answer = served.http.post("/v1/responses", json=body)
    assert (answer.status_code // 100, answer.json()["error"]["param"]) == (4, param)


def test_anothers_store_is_as_one_that_does_not_exist(served: Served) -> None:
    for model in ("writer", "panel"):
        with pytest.raises(openai.NotFoundError) as raised:
            served.bob.responses.create(model=model, input=QUESTION, tools=[tool(served)])
        assert str(raised.value.param).startswith("tools[0].vector_store_ids")


def test_an_ensemble_searches_what_the_tool_says(served: Served) -> None:
    found = strict(
        served.alice.responses.create(
            model="panel",
            input=QUESTION,
            tools=[tool(served, max_num_results=1)],
            include=["file_search_call.results"],
        )
    )
    assert [item.type for item in found.output] == ["file_search_call", "reasoning", "message"]
    search, reasoning, message = found.output
    assert [one.filename for one in search.results] == ["lamp.txt"]
    assert reasoning.content[0].text
    text, (citation,) = message.content[0].text, message.content[0].annotations
    assert text[citation.index :] == "[1]"
    assert (citation.type, citation.filename) == ("file_citation", "lamp.txt")
    report = found.model_extra["ensemble"]
    assert (report["answer_value"], len(report["votes"])) == ("blue", 3)


def test_an_ensemble_streams(served: Served) -> None:
    with served.alice.responses.stream(
        model="panel", input=QUESTION, tools=[tool(served)]
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.index("response.file_search_call.completed") < kinds.index(
        "response.reasoning_text.delta"
    )
    assert kinds.count("response.output_text.annotation.added") == 1
    assert final.output_text.endswith("[1]")
    retrieved = served.alice.responses.retrieve(final.id)
    assert retrieved.model_extra == final.model_extra
    follow_up = served.alice.responses.create(
        model="panel",
        input="And the router?",
        tools=[tool(served)],
        previous_response_id=final.id,
    )
    assert follow_up.status == "completed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"top_k": 3}, "top_k"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
        ({"ensemble": {"nonsense": 1}}, "ensemble.nonsense"),
    ],
)
def test_what_an_ensemble_cannot_do(served: Served, body: dict[str, Any], param: str) -> None:
    answer = served.http.post("/v1/responses", json={"model": "panel", "input": "x", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("name", ["filters", "ranking_options"])
def test_an_ensemble_takes_no_conditions(served: Served, name: str) -> None:
    given = {"filters": {"type": "eq", "key": "a", "value": 1}, "ranking_options": {}}[name]
    body = {"model": "panel", "input": "x", "tools": [tool(served, **{name: given})]}
    answer = served.http.post("/v1/responses", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"tools[0].{name}")
    count = served.http.post("/v1/responses/input_tokens", json={"model": "panel", "input": "x"})
    assert (count.status_code, count.json()["error"]["param"]) == (400, "model")
