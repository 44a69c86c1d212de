"""/v1/conversations through the official client."""

import threading
from typing import Any

import openai
import pytest

from tests.contract.serving import wait_until
from tests.contract.test_files import strict
from tests.contract.test_responses import Served, contents, gateway_of_two, served

__all__ = ["gateway_of_two", "served"]


def texts(served: Served, conversation: str) -> list[tuple[str, str]]:
    items = served.alice.conversations.items.list(conversation, order="asc", limit=100)
    return [(item.role, item.content[0].text) for item in items]  # type: ignore[union-attr]


def test_made_changed_and_deleted(served: Served) -> None:
    api = served.alice.conversations
    made = strict(api.create(metadata={"topic": "lamp"}))
    assert strict(api.retrieve(made.id)) == made
    assert strict(api.update(made.id, metadata={"topic": "router"})).metadata == {"topic": "router"}
    assert strict(api.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        api.retrieve(made.id)


def test_items_are_added_listed_and_taken_out(served: Served) -> None:
    api = served.alice.conversations
    talk = api.create(items=[{"role": "user", "content": "zero"}])
    added = strict(
        api.items.create(
            talk.id,
            items=[
                {"role": "assistant", "content": "one"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "two"},
            ],
        )
    )
    assert [item.type for item in added.data] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    every = [strict(item) for item in api.items.list(talk.id, order="asc", limit=2)]
    assert len(every) == 4
    assert len({item.id for item in every}) == 4
    assert [item.id for item in api.items.list(talk.id)] == [item.id for item in reversed(every)]
    assert strict(api.items.retrieve(every[1].id, conversation_id=talk.id)) == every[1]
    assert api.items.delete(every[1].id, conversation_id=talk.id).id == talk.id
    with pytest.raises(openai.NotFoundError):
        api.items.retrieve(every[1].id, conversation_id=talk.id)
    after = api.items.list(talk.id, after=every[1].id, order="asc").data
    assert [item.id for item in after] == [every[2].id, every[3].id]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"role": "user", "content": "x"}] * 21, "items"),
        ([], "items"),
        ([{"type": "item_reference", "id": "msg_1"}], "items[0].type"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "items[0].content[0].type"),
        ([{"role": "user", "content": "x", "id": "m"}] * 2, "items[1].id"),
        ([{"role": "user", "content": "x", "id": "kept"}], "items[0].id"),
    ],
)
def test_what_is_refused_is_named_and_changes_nothing(
    served: Served, items: list[Any], param: str
) -> None:
    talk = served.alice.conversations.create(items=[{"role": "user", "content": "a", "id": "kept"}])  # type: ignore[list-item]
    answer = served.http.post(f"/v1/conversations/{talk.id}/items", json={"items": items})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert len(served.alice.conversations.items.list(talk.id).data) == 1


def test_a_response_reads_a_conversation_and_adds_to_it(served: Served) -> None:
    talk = served.alice.conversations.create(items=[{"role": "user", "content": "zero"}])
    first = strict(served.alice.responses.create(model="fake", input="one", conversation=talk.id))
    assert first.conversation.id == talk.id
    served.alice.responses.create(model="fake", input="two", conversation={"id": talk.id})
    assert contents(served.engine.requests[-1]) == [
        ("user", "zero"),
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
    ]
    assert texts(served, talk.id)[-1] == ("assistant", "two")
    # A branch off goes on from what was said then.
    served.alice.responses.create(model="fake", input="side", previous_response_id=first.id)
    assert contents(served.engine.requests[-1]) == [
        ("user", "zero"),
        ("user", "one"),
        ("assistant", "one"),
        ("user", "side"),
    ]
    # What one of the two has lost, the other keeps.
    served.alice.responses.delete(first.id)
    assert len(texts(served, talk.id)) == 5
    kept = served.alice.responses.create(model="fake", input="three", conversation=talk.id)
    served.alice.conversations.delete(talk.id)
    assert served.alice.responses.retrieve(kept.id).output_text == "three"


def test_what_fails_or_breaks_off_adds_nothing(served: Served) -> None:
    talk = served.alice.conversations.create()
    with pytest.raises(openai.BadRequestError):
        served.alice.responses.create(model="fake", input="word " * 300, conversation=talk.id)
    with served.alice.responses.create(
        model="fake", input="hold on", conversation=talk.id, stream=True
    ) as stream:
        next(stream)
    assert served.engine.closed.wait(20)
    served.alice.responses.create(model="fake", input="after", conversation=talk.id)
    assert texts(served, talk.id) == [("user", "after"), ("assistant", "after")]


def test_two_at_once_come_one_after_the_other(served: Served) -> None:
    talk = served.alice.conversations.create()
    first = served.alice.responses.create(
        model="fake", input="hold first", conversation=talk.id, background=True
    )
    assert served.engine.began.wait(20)
    second = threading.Thread(
        target=lambda: served.alice.responses.create(
            model="fake", input="second", conversation=talk.id
        )
    )
    second.start()
    other = served.alice.conversations.create()  # another conversation waits for nobody
    served.alice.responses.create(model="fake", input="elsewhere", conversation=other.id)
    served.engine.release()
    second.join(60)
    wait_until(lambda: served.alice.responses.retrieve(first.id).status == "completed")
    assert texts(served, talk.id) == [
        ("user", "hold first"),
        ("assistant", "hold first"),
        ("user", "second"),
        ("assistant", "second"),
    ]
    assert contents(served.engine.requests[-1])[0] == ("user", "hold first")
