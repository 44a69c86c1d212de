"""Tiers, the limit on a request's time, and clients that go while their prompt is prefilled."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.settings import ServerSettings
from tests.contract.conftest import Gateway, running
from tests.contract.serving import WatchedEngine, configuration, serve
from tests.real_models import SMOLLM2

HELLO: list[Any] = [{"role": "user", "content": "Say one two three"}]
WITHIN_S = 120.0


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ({}, "default"),
        ({"service_tier": "auto"}, "default"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "priority"}, "default"),
        ({"service_tier": "scale"}, "default"),
        ({"service_tier": "fast"}, "default"),
    ],
)
def test_the_tier_that_was_used_is_told(gateway: Gateway, asked: dict[str, Any], used: str) -> None:
    given: dict[str, Any] = {"model": gateway.chat_model, "messages": HELLO, "max_tokens": 4}
    whole = gateway.client.chat.completions.create(**given, **asked)
    assert whole.service_tier == used
    assert whole.choices[0].message.content
    with gateway.client.chat.completions.create(**given, **asked, stream=True) as chunks:
        assert {chunk.service_tier for chunk in chunks} == {used}


@pytest.fixture
def limited(tmp_path: Path, engine: WatchedEngine) -> Iterator[httpx.Client]:
    """A gateway with a limit on a request's time, in which a stream surely begins."""
    found = configuration(tmp_path, server=ServerSettings(request_timeout_s=1.0))
    with serve(found, {"fake": engine}) as url, httpx.Client(base_url=url, timeout=20) as http:
        yield http


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_past_the_limit_is_a_504_that_is_not_repeated(
    limited: httpx.Client, engine: WatchedEngine, stream: bool
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "silence"}]}
    answer = limited.post("/v1/chat/completions", json={**body, "stream": stream})
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert error["code"] == "timeout"
    assert "request_timeout_s" in error["message"]
    assert engine.closed.wait(10)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"content": "silence"}),
        ("/detokenize", {"tokens": [0]}),
        ("/v1/completions", {"model": "fake", "prompt": [0], "echo": True}),
        ("/v1/completions", {"model": "fake", "prompt": [0], "echo": True, "stream": True}),
    ],
)
def test_words_and_their_numbers_are_limited_too(
    limited: httpx.Client, engine: WatchedEngine, path: str, body: dict[str, Any]
) -> None:
    engine.mute = True
    answer = limited.post(path, json=body)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"
    assert engine.closed.is_set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_while_its_prompt_is_spelled_is_not_answered(
    watched: httpx.Client, engine: WatchedEngine, stream: bool
) -> None:
    engine.mute = True
    body = {"model": "fake", "prompt": [0], "echo": True, "stream": stream}
    content = json.dumps(body).encode()
    with socket.create_connection((watched.base_url.host, watched.base_url.port or 80)) as client:
        client.sendall(post("/v1/completions", content))
        assert engine.began.wait(WITHIN_S)
    assert engine.closed.wait(WITHIN_S)
    assert not engine.requests


def test_a_stream_past_the_limit_ends_with_an_error(
    limited: httpx.Client, engine: WatchedEngine
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hold on"}], "stream": True}
    answer = limited.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert "hold" in answer.text
    last = answer.text.strip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "timeout"
    assert engine.closed.wait(10)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A real model with room for a prompt of several pieces."""
    chat = replace(SMOLLM2, context=2048, kv_tokens=2048)
    found = configuration(tmp_path_factory.mktemp("slow"), models=("fake", chat))
    with running(found, chat.id, "fake", 32) as gateway:
        yield gateway


def post(path: str, content: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def wait_for(gateway: Gateway, count: int) -> None:
    """Until so many requests run."""
    deadline = time.monotonic() + WITHIN_S
    while gateway.http.get("/health").json()["models"][gateway.chat_model]["running"] != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the load has no event to wait for but asking


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_while_its_prompt_is_prefilled_costs_no_more(
    slow: Gateway, stream: bool
) -> None:
    text = f"{stream} story. " + "The old clock on the wall had stopped again. " * 130
    body = {
        "model": slow.chat_model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 1,
    }
    content = json.dumps({**body, "stream": stream}).encode()
    host, port = slow.http.base_url.host, slow.http.base_url.port
    assert port is not None
    with socket.create_connection((host, port)) as client:
        client.sendall(post("/v1/chat/completions", content))
        wait_for(slow, 1)  # told after the first piece; the rest takes seconds
    wait_for(slow, 0)
    again = slow.http.post("/v1/chat/completions", json=body, timeout=WITHIN_S).json()
    usage = again["usage"]
    assert usage["prompt_tokens"] > 2 * 512
    # What had been done is kept, and it was not all.
    assert 512 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"] - 1
