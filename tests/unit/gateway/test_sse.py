"""Streams: framing, errors before and after the first event, silence, and clients that go."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientGone
from gateway.sse import COMMENT, DONE, EventStream, Prefetch, event
from models.errors import QueueFull

Message = dict[str, Any]


class Client:
    """The other end of an ASGI connection."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.on_send: Callable[[Message], None] = lambda message: None

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.on_send(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Source:
    """An async generator that records its end."""

    def __init__(self, *items: bytes | Exception | asyncio.Event) -> None:
        self.closed = asyncio.Event()
        self._items = items

    async def run(self) -> AsyncGenerator[bytes, None]:
        try:
            for item in self._items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, asyncio.Event):
                    await item.wait()
                else:
                    yield item
        finally:
            self.closed.set()


async def frames(source: Prefetch[bytes]) -> AsyncGenerator[bytes, None]:
    async for item in source:
        yield event(item)
    yield DONE


async def run(client: Client, source: Source, keep_alive_s: float = 60) -> None:
    prefetch = Prefetch(source.run())
    await prefetch.wait(client.receive, keep_alive_s)
    stream = EventStream(frames(prefetch), prefetch, keep_alive_s)
    await stream({}, client.receive, client.send)  # type: ignore[arg-type]


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)))
def test_any_json_is_one_event(value: object) -> None:
    for ensure_ascii in (True, False):
        body = json.dumps(value, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")
        framed = event(body)
        assert framed.startswith(b"data: ")
        assert framed.endswith(b"\n\n")
        assert framed.count(b"\n") == 2
        assert b"\r" not in framed


async def test_a_stream_from_first_to_last_byte() -> None:
    client, source = Client(), Source(b"1", b"2")
    await run(client, source)
    assert client.sent[0]["status"] == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in client.sent[0]["headers"]
    assert client.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert client.sent[-1]["more_body"] is False
    assert source.closed.is_set()


async def test_an_error_before_the_first_event_is_raised() -> None:
    client, source = Client(), Source(QueueFull("full", 1))
    with pytest.raises(QueueFull):
        await run(client, source)
    assert client.sent == []
    assert source.closed.is_set()


async def test_an_error_later_is_one_last_event() -> None:
    client, source = Client(), Source(b"1", QueueFull("full", 1))
    await run(client, source)
    events = client.body.decode().split("\n\n")
    assert events[0] == "data: 1"
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "queue_full"
    assert events[2:] == [""]
    assert client.sent[-1]["more_body"] is False


async def test_a_client_that_goes_before_the_first_event_cancels() -> None:
    client, source = Client(), Source(asyncio.Event())
    task = asyncio.create_task(run(client, source))
    client.gone.set()
    with pytest.raises(ClientGone):
        await task
    assert source.closed.is_set()
    assert client.sent == []


async def test_a_client_that_goes_later_cancels() -> None:
    client, source = Client(), Source(b"1", asyncio.Event())
    client.on_send = lambda message: client.gone.set() if message.get("body") else None
    await run(client, source)
    assert source.closed.is_set()
    assert client.body == b"data: 1\n\n"


async def test_a_client_that_does_not_read_and_goes_cancels() -> None:
    client, source = Client(), Source(b"1", b"2")
    blocked = asyncio.Event()

    async def send(message: Message) -> None:
        if message.get("body"):
            client.gone.set()
            await blocked.wait()

    prefetch = Prefetch(source.run())
    stream = EventStream(frames(prefetch), prefetch, 60)
    await stream({}, client.receive, send)  # type: ignore[arg-type]
    assert source.closed.is_set()


async def test_a_shutdown_is_told_to_the_client() -> None:
    client, source = Client(), Source(b"1", asyncio.Event())
    begun = asyncio.Event()
    client.on_send = lambda message: begun.set() if message.get("body") else None
    task = asyncio.create_task(run(client, source))
    await begun.wait()
    task.cancel()
    await task
    assert b"shutting_down" in client.body
    assert client.sent[-1]["more_body"] is False
    assert source.closed.is_set()


async def test_silence_is_filled_with_comments() -> None:
    release = asyncio.Event()
    client, source = Client(), Source(release, b"1", release, b"2")

    def count(message: Message) -> None:
        if client.body.count(COMMENT) >= 2:
            release.set()

    client.on_send = count
    await run(client, source, keep_alive_s=0.01)
    text = client.body.replace(COMMENT, b"")
    assert text == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert client.body.startswith(COMMENT)


async def test_closing_a_prefetch_nobody_read_closes_the_source() -> None:
    source = Source(asyncio.Event())
    prefetch = Prefetch(source.run())
    await asyncio.sleep(0)
    await prefetch.aclose()
    assert source.closed.is_set()
