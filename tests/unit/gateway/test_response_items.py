"""Items of responses and the messages of a chat say the same."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.convert.items import items_of, messages_of, settled
from gateway.responses.building import ResponseBuilder
from gateway.responses.pieces import Call, Ended, Text, Thought
from gateway.schema.common import Timings
from gateway.schema.items import Item, ItemReference
from gateway.schema.messages import AssistantMessage
from gateway.schema.response_events import ResponseEvent
from gateway.schema.responses import Response
from models.types import CallDelta, Usage

WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
HEAD = Response(id="resp_1", created_at=1, model="m", status="in_progress")
END = Ended(
    reason="stop",
    usage=Usage(3, 4),
    timings=Timings(
        queue_ms=0,
        retrieval_ms=0,
        vote_ms=0,
        prefill_ms=0,
        decode_ms=0,
        prompt_tokens=3,
        cached_tokens=0,
        completion_tokens=4,
    ),
)


def built(
    thoughts: list[str], texts: list[str], calls: list[list[str]]
) -> tuple[Response, list[ResponseEvent]]:
    builder = ResponseBuilder(HEAD)
    events = list(builder.begin())
    for text in thoughts:
        events += builder.add(Thought(text))
    for text in texts:
        events += builder.add(Text(text))
    for number, pieces in enumerate(calls):
        events += builder.add(Call(CallDelta(number, f"call_{number}", "ping")))
        for piece in pieces:
            events += builder.add(Call(CallDelta(number, arguments=piece)))
    events += builder.add(END)
    events += builder.finish(2)
    return builder.response, events


@given(
    st.lists(WORDS, max_size=3),
    st.lists(WORDS, max_size=3),
    st.lists(st.lists(WORDS, max_size=3), max_size=3),
)
def test_an_answer_that_is_sent_back_is_the_turn_that_it_was(
    thoughts: list[str], texts: list[str], calls: list[list[str]]
) -> None:
    response, _ = built(thoughts, texts, calls)
    sent = json.loads(msgspec.json.encode(response))["output"]
    items = [
        settled(item) for item in items_of(sent, "input") if not isinstance(item, ItemReference)
    ]
    assert items == response.output
    (message,) = messages_of(items)
    assert isinstance(message, AssistantMessage)
    assert (message.reasoning_content or "", message.content) == ("".join(thoughts), "".join(texts))
    found = [(call.id, call.function.arguments) for call in message.tool_calls or ()]
    expected = [(f"call_{n}", "".join(pieces) or "{}") for n, pieces in enumerate(calls)]
    assert found == expected


@given(
    st.lists(WORDS, max_size=3),
    st.lists(WORDS, max_size=3),
    st.lists(st.lists(WORDS, max_size=3), max_size=3),
)
def test_the_events_add_up_to_the_response(
    thoughts: list[str], texts: list[str], calls: list[list[str]]
) -> None:
    _, events = built(thoughts, texts, calls)
    told = [json.loads(msgspec.json.encode(event)) for event in events]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    grown: dict[str, str] = {}
    done: dict[int, object] = {}
    open_items: set[int] = set()
    for event in told:
        if event["type"] == "response.output_item.added":
            open_items.add(event["output_index"])
        elif event["type"].endswith(".delta"):
            assert event["output_index"] in open_items
            grown[event["item_id"]] = grown.get(event["item_id"], "") + event["delta"]
        elif event["type"] == "response.output_item.done":
            open_items.remove(event["output_index"])
            done[event["output_index"]] = event["item"]
    assert open_items == set()
    assert list(done) == list(range(len(done)))
    assert [done[n] for n in sorted(done)] == told[-1]["response"]["output"]
    for item in told[-1]["response"]["output"]:
        text = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert grown.get(item["id"], "") == text


def test_an_item_may_lack_its_type_where_it_is_plain() -> None:
    items: list[Item] = items_of([{"role": "user", "content": "a"}, {"id": "msg_1"}], "input")
    assert [type(item).__name__ for item in items] == ["MessageItem", "ItemReference"]
