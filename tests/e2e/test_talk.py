"""A talk with real models that goes on after the gateway was killed, through the real SDK."""

import signal
from pathlib import Path
from typing import Any

import openai

from tests.contract.test_files import strict
from tests.e2e.serving import Gateway, serve

RESET = "How long must I hold the reset button of an R200 router?"


def client_of(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=300)


def said(client: openai.OpenAI, talk: str) -> list[tuple[str, str]]:
    items: list[Any] = list(client.conversations.items.list(talk, order="asc"))
    return [(one.role, one.content[0].text) for one in items if one.type == "message"]


def test_a_talk_goes_on_after_a_kill(tmp_path: Path) -> None:
    with serve(tmp_path) as gateway, client_of(gateway) as client:
        gateway.wait_ready()
        talk = client.conversations.create(metadata={"customer": "1742"})
        first = strict(
            client.responses.create(model="rag-ensemble", input=RESET, conversation=talk.id)
        )
        assert "12 seconds" in first.output_text
        message = first.output[-1]
        citation = message.content[0].annotations[0]
        assert message.content[0].text[citation.index :].startswith("[")
        assert client.files.content(citation.file_id).read()
        with client.responses.create(
            model="smollm2-135m",
            input="Write a very long story.",
            background=True,
            stream=True,
            max_output_tokens=2000,
        ) as stream:
            created = next(stream)
            assert created.type == "response.created"
            next(event for event in stream if event.type == "response.output_text.delta")
        broken_off = created.response.id
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(20)
    with serve(tmp_path) as gateway, client_of(gateway) as client:
        gateway.wait_ready()
        failed = strict(client.responses.retrieve(broken_off))
        assert (failed.status, failed.error.code) == ("failed", "server_error")
        assert client.conversations.retrieve(talk.id).metadata == {"customer": "1742"}
        assert said(client, talk.id) == [("user", RESET), ("assistant", first.output_text)]
        assert client.responses.retrieve(first.id) == first
        (store,) = client.vector_stores.list().data
        with client.responses.stream(
            model="smollm2-135m",
            input="And the lamp of the router?",
            conversation=talk.id,
            tools=[{"type": "file_search", "vector_store_ids": [store.id], "max_num_results": 2}],
            max_output_tokens=20,
            truncation="auto",
        ) as stream:
            kinds = [event.type for event in stream]
        assert kinds.index("response.file_search_call.completed") < kinds.index(
            "response.output_text.delta"
        )
        assert kinds[-1] in ("response.completed", "response.incomplete")
        assert [role for role, _ in said(client, talk.id)] == ["user", "assistant"] * 2
