"""/v1/responses through the official client: stateless, streamed, with tools, kept, background."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pydantic
import pytest
from msgspec.structs import replace

from gateway.config_files import Configuration
from gateway.settings import ResponsesSection
from models.engines.fake import FakeEngine
from models.types import (
    CallDelta,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Usage,
)
from tests.contract.serving import (
    WatchedEngine,
    configuration,
    serve,
    wait_ready,
    wait_until,
)
from tests.contract.test_files import strict

PING: Any = {
    "type": "function",
    "name": "ping",
    "parameters": {
        "type": "object",
        "properties": {"host": {"type": "string"}},
        "required": ["host"],
    },
}


class ThinkingEngine(FakeEngine):
    """Thinks, speaks, and calls twice."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        for word in ("let ", "me ", "see"):
            await asyncio.sleep(0)
            yield GenerateDelta("", reasoning=word)
        yield GenerateDelta("I ")
        yield GenerateDelta("look.")
        yield GenerateDelta("", calls=(CallDelta(0, "call_a", "ping"),))
        yield GenerateDelta("", calls=(CallDelta(0, arguments='{"host":'),))
        yield GenerateDelta("", calls=(CallDelta(0, arguments=' "a"}'),))
        yield GenerateDelta("", calls=(CallDelta(1, "call_b", "ping", '{"host": "b"}'),))
        yield GenerateDelta("", GenerateEnd("tool_calls", Usage(7, 9, 2, 3)))


class Served(NamedTuple):
    url: str
    alice: openai.OpenAI
    bob: openai.OpenAI
    http: httpx.Client  # as alice
    engine: WatchedEngine


def two_keys(folder: Path, responses: ResponsesSection | None = None) -> Configuration:
    keys = ("alice:key-a", "bob:key-b")
    found = configuration(folder, models=("fake", "thinker"), keys=keys)
    return replace(
        found, settings=replace(found.settings, responses=responses or ResponsesSection())
    )


@pytest.fixture(scope="module")
def gateway_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = WatchedEngine(context=256)
    folder = tmp_path_factory.mktemp("responses")
    with (
        serve(two_keys(folder), {"fake": engine, "thinker": ThinkingEngine()}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as bob,
        httpx.Client(base_url=url, headers={"authorization": "Bearer key-a"}, timeout=20) as http,
    ):
        wait_ready(http)
        yield Served(url, alice, bob, http, engine)


@pytest.fixture
def served(gateway_of_two: Served) -> Served:
    gateway_of_two.engine.forget()
    return gateway_of_two


def contents(request: GenerateRequest) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in request.prompt.messages]  # type: ignore[union-attr]


def refused(served: Served, **body: Any) -> tuple[int, str | None, str | None]:
    answer = served.http.post("/v1/responses", json={"model": "fake", "input": "x", **body})
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


# Without state


def test_an_answer_in_one_piece(served: Served) -> None:
    found = served.alice.responses.create(
        model="fake", input="one two", instructions="Be brief.", metadata={"a": "b"}, user="u"
    )
    assert strict(found).output_text == "one two"
    assert (found.status, found.object, found.instructions) == (
        "completed",
        "response",
        "Be brief.",
    )
    assert (found.metadata, found.user, found.error) == ({"a": "b"}, "u", None)
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    assert contents(served.engine.requests[-1]) == [("system", "Be brief."), ("user", "one two")]


def test_items_become_the_messages_that_they_say(served: Served) -> None:
    items: list[Any] = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Is it up?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "ping",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "c1", "output": "yes"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "It is.", "annotations": []}],
        },
        {"role": "user", "content": "Sure?"},
    ]
    served.alice.responses.create(model="fake", input=items)
    messages = served.engine.requests[-1].prompt.messages  # type: ignore[union-attr]
    assert [m.role for m in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert (messages[2].reasoning, messages[2].tool_calls[0].id) == ("hm", "c1")
    assert (messages[3].content, messages[3].tool_call_id) == ("yes", "c1")


def test_the_events_of_a_stream_in_their_order(served: Served) -> None:
    with served.alice.responses.create(model="fake", input="one two", stream=True) as stream:
        events = [strict(event) for event in stream]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].response.status, events[-1].response.status) == ("in_progress", "completed")
    assert events[-1].response.output == [events[-2].item]
    assert {event.response.id for event in (events[0], events[-1])} == {events[0].response.id}


def test_a_frame_has_the_name_of_its_event_and_nothing_follows_the_last(served: Served) -> None:
    answer = served.http.post(
        "/v1/responses", json={"model": "fake", "input": "one", "stream": True}
    )
    frames = answer.text.strip().split("\n\n")
    for frame in frames:
        name, data = frame.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
    assert frames[-1].startswith("event: response.completed\n")


def test_the_stream_helper_and_thoughts_and_calls(served: Served) -> None:
    with served.alice.responses.stream(model="thinker", input="go", tools=[PING]) as stream:
        events = list(stream)
        final = stream.get_final_response()
    whole = served.alice.responses.create(model="thinker", input="go", tools=[PING])
    for found in (strict(final), strict(whole)):
        assert [item.type for item in found.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        reasoning, message, first, second = found.output
        assert reasoning.content[0].text == "let me see"
        assert (message.content[0].text, found.output_text) == ("I look.", "I look.")
        assert (first.call_id, json.loads(first.arguments)) == ("call_a", {"host": "a"})
        assert (second.call_id, json.loads(second.arguments)) == ("call_b", {"host": "b"})
        assert found.usage.output_tokens_details.reasoning_tokens == 3
        assert found.usage.input_tokens_details.cached_tokens == 2
    kinds = [event.type for event in events]
    assert kinds.count("response.reasoning_text.delta") == 3
    assert kinds.count("response.reasoning_text.done") == 1
    assert kinds.count("response.function_call_arguments.done") == 2
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert [event.name for event in done] == ["ping", "ping"]


def test_a_call_and_its_output(served: Served) -> None:
    first = served.alice.responses.create(
        model="fake", input="ping the host", tools=[PING], parallel_tool_calls=False
    )
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "ping"
    second = served.alice.responses.create(
        model="fake",
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "it is up"}],
        previous_response_id=first.id,
        tools=[PING],
        tool_choice="none",
    )
    assert second.output_text == "it is up"
    roles = [role for role, _ in contents(served.engine.requests[-1])]
    assert roles == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "ping"},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "ping"}],
        },
    ],
)
def test_a_call_that_must_be_made(served: Served, choice: Any) -> None:
    found = served.alice.responses.create(model="fake", input="x", tools=[PING], tool_choice=choice)
    assert [item.type for item in found.output] == ["function_call"]


class Colour(pydantic.BaseModel):
    name: str
    shades: list[int]


def test_parse(served: Served) -> None:
    found = served.alice.responses.parse(model="fake", input="x", text_format=Colour)
    assert found.output_parsed == Colour(name="", shades=[])
    with served.alice.responses.stream(model="fake", input="x", text_format=Colour) as stream:
        assert stream.get_final_response().output_parsed == found.output_parsed


async def test_the_async_client(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="key-a") as client:
        async with client.responses.stream(model="fake", input="one two") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert (kinds[-1], final.output_text) == ("response.completed", "one two")
        parsed = await client.responses.parse(model="fake", input="x", text_format=Colour)
        assert parsed.output_parsed == Colour(name="", shades=[])
        later = await client.responses.create(
            model="fake", input="more", previous_response_id=final.id
        )
        assert later.previous_response_id == final.id


def test_an_answer_that_is_cut_off(served: Served) -> None:
    found = strict(served.alice.responses.create(model="fake", input="a b c", max_output_tokens=2))
    assert (found.status, found.output_text) == ("incomplete", "a b")
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.output[0].status == "incomplete"
    with served.alice.responses.create(
        model="fake", input="a b c", max_output_tokens=2, stream=True
    ) as stream:
        assert list(stream)[-1].type == "response.incomplete"


def test_log_probabilities(served: Served) -> None:
    found = served.alice.responses.create(
        model="fake", input="a b", include=["message.output_text.logprobs"], top_logprobs=2
    )
    part = found.output[0].content[0]  # type: ignore[union-attr]
    assert "".join(one.token for one in part.logprobs) == "a b"  # type: ignore[union-attr]
    assert part.logprobs[0].top_logprobs[0].token == part.logprobs[0].token  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"text": {"nonsense": 1}}, "text.nonsense"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [PING, {"type": "function", "name": "a b"}]}, "tools[1].name"),
        ({"tools": [PING, PING]}, "tools[1].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["computer_call_output.output.image_url"]}, "include[0]"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"conversation": "c", "previous_response_id": "r"}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"conversation": "c", "store": False}, "conversation"),
        ({"input": None}, "input"),
        ({"input": [{"text": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "input[0].call_id",
        ),
        ({"input": "word " * 300}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused_is_named(
    served: Served, body: dict[str, Any], param: str, *, stream: bool
) -> None:
    if "stream_options" in body and stream:
        return
    assert refused(served, **body, stream=stream)[:2] == (400, param)


def test_what_does_not_exist(served: Served) -> None:
    assert refused(served, model="none") == (404, "model", "model_not_found")
    missing = (404, "previous_response_id", "response_not_found")
    for more in ({}, {"stream": True}, {"background": True}):
        assert refused(served, previous_response_id="resp_x", **more) == missing
    assert refused(served, conversation="conv_x") == (
        404,
        "conversation",
        "conversation_not_found",
    )
    assert refused(served, input=[{"type": "item_reference", "id": "msg_x"}]) == (
        404,
        "input[0].id",
        "item_not_found",
    )


def test_a_failure_in_the_middle_is_an_event(served: Served, tmp_path: Path) -> None:
    class Breaks(FakeEngine):
        async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
            yield GenerateDelta("half ")
            raise RuntimeError("a bug")

    with (
        serve(two_keys(tmp_path / "b"), {"fake": Breaks()}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as client,
    ):
        with client.responses.create(model="fake", input="x", stream=True) as stream:
            last = strict(list(stream)[-1])
        assert last.type == "response.failed"
        assert last.response.error.code == "server_error"
        assert strict(client.responses.retrieve(last.response.id)).status == "failed"
        with pytest.raises(openai.InternalServerError):
            client.responses.create(model="fake", input="x")


def test_input_tokens(served: Served) -> None:
    few = served.alice.responses.input_tokens.count(model="fake", input="one two")
    many = served.alice.responses.input_tokens.count(
        model="fake", input="one two", instructions="three four five"
    )
    assert strict(few).input_tokens < many.input_tokens
    usage = served.alice.responses.create(model="fake", input="one two").usage
    assert usage is not None
    assert usage.input_tokens == few.input_tokens


# With state


def test_a_talk_goes_on_from_what_is_kept(served: Served) -> None:
    first = served.alice.responses.create(model="fake", input="one", instructions="System.")
    second = served.alice.responses.create(model="fake", input="two", previous_response_id=first.id)
    third = served.alice.responses.create(
        model="fake", input="three", previous_response_id=second.id, store=False
    )
    assert contents(served.engine.requests[-1]) == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
        ("user", "three"),
    ]
    assert strict(served.alice.responses.retrieve(second.id)) == second
    with pytest.raises(openai.NotFoundError):
        served.alice.responses.retrieve(third.id)


def test_a_branch_forks_from_any_response(served: Served) -> None:
    first = served.alice.responses.create(model="fake", input="one")
    for text in ("left", "right"):
        served.alice.responses.create(model="fake", input=text, previous_response_id=first.id)
        assert contents(served.engine.requests[-1])[-1] == ("user", text)
        assert len(contents(served.engine.requests[-1])) == 3


def test_input_items_are_paged(served: Served) -> None:
    first = served.alice.responses.create(model="fake", input="one")
    second = served.alice.responses.create(model="fake", input="two", previous_response_id=first.id)
    pages = served.alice.responses.input_items.list(second.id, limit=2, order="asc")
    assert pages.has_more
    items = [strict(item) for item in pages]  # asks for the second page itself
    assert [item.role for item in items] == ["user", "assistant", "user"]
    newest = served.alice.responses.input_items.list(second.id, limit=1).data
    assert [item.id for item in newest] == [items[-1].id]
    answer = served.http.get(f"/v1/responses/{second.id}/input_items", params={"after": "no"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


def test_an_item_can_be_referred_to(served: Served) -> None:
    first = served.alice.responses.create(model="fake", input="one")
    served.alice.responses.create(
        model="fake",
        input=[
            {"type": "item_reference", "id": str(first.output[0].id)},
            {"role": "user", "content": "two"},
        ],
    )
    assert contents(served.engine.requests[-1]) == [("assistant", "one"), ("user", "two")]


def test_what_is_deleted_is_gone_and_what_goes_back_to_it_says_so(served: Served) -> None:
    first = served.alice.responses.create(model="fake", input="one")
    second = served.alice.responses.create(model="fake", input="two", previous_response_id=first.id)
    served.alice.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        served.alice.responses.retrieve(first.id)
    assert served.alice.responses.retrieve(second.id).output_text == "two"
    with pytest.raises(openai.NotFoundError, match="was deleted or has expired"):
        served.alice.responses.create(model="fake", input="x", previous_response_id=second.id)


def test_nobody_sees_anothers(served: Served) -> None:
    mine = served.alice.responses.create(model="fake", input="secret")
    talk = served.alice.conversations.create(items=[{"role": "user", "content": "secret"}])
    item = served.alice.conversations.items.list(talk.id).data[0]
    bob = served.bob
    for call in (
        lambda: bob.responses.retrieve(mine.id),
        lambda: bob.responses.delete(mine.id),
        lambda: bob.responses.cancel(mine.id),
        lambda: bob.responses.input_items.list(mine.id),
        lambda: bob.responses.create(model="fake", input="x", previous_response_id=mine.id),
        lambda: bob.responses.create(model="fake", input="x", conversation=talk.id),
        lambda: bob.responses.create(
            model="fake",
            input=[{"type": "item_reference", "id": str(mine.output[0].id)}],
        ),
        lambda: bob.conversations.retrieve(talk.id),
        lambda: bob.conversations.update(talk.id, metadata={}),
        lambda: bob.conversations.delete(talk.id),
        lambda: bob.conversations.items.list(talk.id),
        lambda: bob.conversations.items.create(talk.id, items=[{"role": "user", "content": "x"}]),
        lambda: bob.conversations.items.retrieve(str(item.id), conversation_id=talk.id),
        lambda: bob.conversations.items.delete(str(item.id), conversation_id=talk.id),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    assert served.alice.responses.retrieve(mine.id) == mine
    assert len(served.alice.conversations.items.list(talk.id).data) == 1


def test_truncation_drops_the_oldest_turns(served: Served) -> None:
    long = "word " * 60
    items: list[Any] = [{"role": "system", "content": "Stay."}]
    for _ in range(4):
        items += [{"role": "user", "content": long}, {"role": "assistant", "content": "Yes."}]
    items.append({"role": "user", "content": "last"})
    assert refused(served, input=items) == (400, "input", "context_length_exceeded")
    served.alice.responses.create(model="fake", input=items, truncation="auto")
    kept = contents(served.engine.requests[-1])
    assert (kept[0], kept[-1]) == (("system", "Stay."), ("user", "last"))
    assert 1 < len(kept) < len(items)


def test_storage_can_be_turned_off(tmp_path: Path) -> None:
    found = two_keys(tmp_path, ResponsesSection(store=False))
    with (
        serve(found) as url,
        httpx.Client(base_url=url, headers={"authorization": "Bearer key-a"}, timeout=20) as http,
    ):
        wait_ready(http)
        plain = {"model": "fake", "input": "x"}
        made = http.post("/v1/responses", json=plain).json()
        assert (made["status"], made["store"]) == ("completed", False)
        assert http.get(f"/v1/responses/{made['id']}").status_code == 404
        for more in (
            {"store": True},
            {"background": True},
            {"previous_response_id": "r"},
            {"conversation": "c"},
        ):
            error = http.post("/v1/responses", json={**plain, **more}).json()["error"]
            assert (error["param"], error["code"]) == (next(iter(more)), "storage_disabled")
        error = http.post("/v1/conversations", json={}).json()["error"]
        assert error["code"] == "storage_disabled"


# In the background


def test_a_background_response_is_polled(served: Served) -> None:
    begun = strict(served.alice.responses.create(model="fake", input="hold on", background=True))
    assert (begun.status, begun.background, begun.output) == ("in_progress", True, [])
    assert served.alice.responses.retrieve(begun.id).status == "in_progress"
    assert refused(served, previous_response_id=begun.id) == (
        400,
        "previous_response_id",
        "response_not_completed",
    )
    served.engine.release()
    wait_until(lambda: served.alice.responses.retrieve(begun.id).status != "in_progress")
    done = strict(served.alice.responses.retrieve(begun.id))
    assert (done.status, done.output_text) == ("completed", "hold on")
    assert served.alice.responses.cancel(begun.id).status == "completed"  # it is over


def test_a_background_response_is_cancelled(served: Served) -> None:
    begun = served.alice.responses.create(model="fake", input="hold on", background=True)
    assert served.engine.began.wait(20)
    assert strict(served.alice.responses.cancel(begun.id)).status == "cancelled"
    assert served.engine.closed.wait(20)
    assert served.alice.responses.retrieve(begun.id).status == "cancelled"
    plain = served.alice.responses.create(model="fake", input="x")
    with pytest.raises(openai.BadRequestError, match="background"):
        served.alice.responses.cancel(plain.id)


def test_a_background_stream_can_be_taken_up_again(served: Served) -> None:
    with served.alice.responses.create(
        model="fake", input="hold on", background=True, stream=True
    ) as stream:
        events = [next(stream) for _ in range(5)]  # the client goes after the first word
    response_id = events[0].response.id  # type: ignore[union-attr]
    again = served.alice.responses.retrieve(response_id, stream=True, starting_after=1)
    with again:
        third = next(again)
        assert third.sequence_number == 2
        served.engine.release()
        rest = [third, *again]
    assert [event.sequence_number for event in rest] == list(range(2, 2 + len(rest)))
    assert rest[-1].type == "response.completed"
    wait_until(lambda: served.alice.responses.retrieve(response_id).status == "completed")
    with pytest.raises(openai.BadRequestError, match="without 'stream'"):
        served.alice.responses.retrieve(response_id, stream=True)


def test_a_failure_in_the_background_is_kept(served: Served) -> None:
    begun = served.alice.responses.create(model="fake", input="word " * 300, background=True)
    wait_until(lambda: served.alice.responses.retrieve(begun.id).status != "in_progress")
    found = strict(served.alice.responses.retrieve(begun.id))
    assert (found.status, found.error.code) == ("failed", "invalid_prompt")


def test_background_responses_of_one_key_are_bounded(tmp_path: Path) -> None:
    engine = WatchedEngine()
    with (
        serve(two_keys(tmp_path, ResponsesSection(max_background=1)), {"fake": engine}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as bob,
    ):
        begun = alice.responses.create(model="fake", input="hold on", background=True)
        with pytest.raises(openai.RateLimitError):
            alice.responses.create(model="fake", input="x", background=True)
        bob.responses.create(model="fake", input="x", background=True)
        alice.responses.delete(begun.id)  # ends it
        alice.responses.create(model="fake", input="x", background=True)


def test_a_restart_says_what_became_of_it(tmp_path: Path) -> None:
    found = two_keys(tmp_path)
    engine = WatchedEngine()
    with (
        serve(found, {"fake": engine}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
    ):
        done = alice.responses.create(model="fake", input="one")
        begun = alice.responses.create(model="fake", input="hold on", background=True)
        assert engine.began.wait(20)
    with (
        serve(found) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
    ):
        after = strict(alice.responses.retrieve(begun.id))
        assert (after.status, after.error.code) == ("failed", "server_error")
        assert "stopped" in after.error.message
        assert alice.responses.retrieve(done.id) == done


def test_a_client_that_goes_leaves_nothing(served: Served) -> None:
    with served.alice.responses.create(model="fake", input="hold on", stream=True) as stream:
        response_id = next(stream).response.id  # type: ignore[union-attr]
    assert served.engine.closed.wait(20)
    with pytest.raises(openai.NotFoundError):
        served.alice.responses.retrieve(response_id)
