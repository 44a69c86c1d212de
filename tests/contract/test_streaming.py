"""Server-sent events as OpenAI sends them, byte for byte."""

import json
import threading
from typing import Any

import httpx
import pytest

from tests.contract.conftest import Gateway
from tests.contract.serving import WatchedEngine


def ask(model: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(body: str) -> list[str]:
    assert body.endswith("\n\n")
    found = [part for part in body.split("\n\n") if part and not part.startswith(":")]
    assert all(part.startswith("data: ") for part in found)
    return [part.removeprefix("data: ") for part in found]


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_chunks_of_a_stream(gateway: Gateway, include_usage: bool) -> None:
    body = ask(gateway.chat_model, "one two three", stream=True, max_tokens=8, temperature=0)
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    answer = gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    *raw, done = events(answer.text)
    assert done == "[DONE]"
    chunks = [json.loads(item) for item in raw]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len({chunk["created"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    if include_usage:
        *chunks, usage = chunks
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] > 0
        assert "timings" in usage
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert all("usage" not in chunk for chunk in chunks)
        assert "timings" in chunks[-1]
    last = chunks[-1]["choices"][0]
    assert last["delta"] == {}
    assert last["finish_reason"] in ("stop", "length")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])


def test_the_pieces_make_the_answer(gateway: Gateway) -> None:
    body = ask(gateway.chat_model, "one two three", max_tokens=8, temperature=0)
    whole = gateway.http.post("/v1/chat/completions", json=body).json()
    streamed = gateway.http.post("/v1/chat/completions", json={**body, "stream": True}).text
    chunks = [json.loads(item) for item in events(streamed)[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def test_an_error_before_the_first_byte_has_a_status(gateway: Gateway) -> None:
    answer = gateway.http.post(
        "/v1/chat/completions", json=ask(gateway.chat_model, "word " * 20_000, stream=True)
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_error_later_is_an_event_and_the_end(
    watched: httpx.Client, engine: WatchedEngine
) -> None:
    body = ask("fake", "hold on a moment", stream=True)
    with watched.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        while "hold" not in next(lines):
            pass
        engine._ready = False
        engine.release()
        rest = [line for line in lines if line and not line.startswith(":")]
    (last,) = rest
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_unavailable"


def test_a_silent_stream_is_kept_alive(watched: httpx.Client, engine: WatchedEngine) -> None:
    for word in ("silence please", "hold on"):
        engine._released.clear()
        body = ask("fake", word, stream=True)
        with watched.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            while next(lines) != ": keep-alive":
                pass
            engine.release()
            assert "data: [DONE]" in list(lines)


def test_a_streaming_client_that_goes_cancels(watched: httpx.Client, engine: WatchedEngine) -> None:
    body = ask("fake", "hold on", stream=True)
    with watched.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()  # kept: a generator that is dropped closes the connection
        assert next(lines)
        assert not engine.closed.is_set()
    assert engine.closed.wait(10)
    assert engine.stats().running == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_before_the_answer_cancels(
    watched: httpx.Client, engine: WatchedEngine, stream: bool
) -> None:
    client = httpx.Client(base_url=watched.base_url, timeout=20)
    failures: list[Exception] = []

    def call() -> None:
        try:
            client.post("/v1/chat/completions", json=ask("fake", "silence", stream=stream))
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            failures.append(error)

    transport = client._transport
    thread = threading.Thread(target=call)
    thread.start()
    assert engine.began.wait(10)
    assert not engine.closed.is_set()
    for connection in list(transport._pool.connections):  # type: ignore[attr-defined]
        stream_ = connection._connection._network_stream
        stream_.get_extra_info("socket").shutdown(2)
    assert engine.closed.wait(10)
    thread.join(10)
    client.close()
    assert failures
