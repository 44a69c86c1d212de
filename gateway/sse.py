"""Server-sent events: the framing, and an ASGI response that streams them.

A stream may begin before its first event is known, so an error can come too late for a status.
`Prefetch` waits for the first item a moment to keep that rare.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from litestar.types import Receive, Scope, Send

from gateway.disconnect import cancel, wait_for_disconnect
from gateway.errors import ClientGone, error_event, shutting_down

__all__ = ["COMMENT", "DONE", "EventStream", "Prefetch", "event", "named_event"]

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


def event(body: bytes) -> bytes:
    """Frame one event. JSON has no raw line break, so one `data:` line is enough."""
    return b"data: " + body + b"\n\n"


def named_event(name: str, body: bytes) -> bytes:
    """Frame one event with its name."""
    return b"event: " + name.encode() + b"\n" + event(body)


class Prefetch(Generic[T]):
    """An async generator with its first item asked for ahead. Close it, whatever happens."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._first: asyncio.Task[T] | None = asyncio.create_task(_next(source))

    async def wait(self, receive: Receive, timeout_s: float) -> None:
        """Wait for the first item, `timeout_s` at most.

        Raises what the source raised instead of it, or ClientGone. The source is closed then.
        """
        first = self._first
        assert first is not None
        gone = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait(
                {first, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if gone.done() and not first.done():
                raise ClientGone
            if first.done() and first.exception() is not None:
                first.result()
        except BaseException:
            await self.aclose()
            raise
        finally:
            await cancel(gone)

    async def first_within(self, timeout_s: float) -> None:
        """As `wait`, where somebody else watches over the client."""
        first = self._first
        assert first is not None
        try:
            await asyncio.wait({first}, timeout=timeout_s)
            if first.done() and first.exception() is not None:
                first.result()
        except BaseException:
            await self.aclose()
            raise

    @property
    def begun(self) -> bool:
        """Whether the first item is there, or the source has ended."""
        return self._first is None or self._first.done()

    def __aiter__(self) -> "Prefetch[T]":
        return self

    async def __anext__(self) -> T:
        if self._first is None:
            return await anext(self._source)
        first, self._first = self._first, None
        return await first

    async def aclose(self) -> None:
        """Close the source; the first item is dropped if nobody took it."""
        first, self._first = self._first, None
        if first is not None:
            await cancel(first)
        await self._source.aclose()


class EventStream:
    """Streams framed events until they end, fail or the client goes.

    `events` yields whole frames; `source` is what they are made of, closed at the end even if
    `events` never began. An error becomes one last event.
    """

    def __init__(
        self, events: AsyncGenerator[bytes, None], source: Prefetch[T], keep_alive_s: float
    ) -> None:
        self._events = events
        self._source = source
        self._keep_alive_s = keep_alive_s
        self._sent_at = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send))
        gone = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        except asyncio.CancelledError:
            # Only the server's shutdown cancels us. The client learns why its stream ends.
            await cancel(pump)
            await self._send(send, event(error_event(shutting_down())))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await cancel(pump, gone)
            await self._events.aclose()
            await self._source.aclose()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        beat = asyncio.create_task(self._beat(send))
        try:
            async for frame in self._events:
                await self._send(send, frame)
        except Exception as error:
            await self._send(send, event(error_event(error)))
        finally:
            await cancel(beat)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        """Comments in the pauses, so that proxies do not take the connection for dead."""
        while True:
            pause_s = self._sent_at + self._keep_alive_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            else:
                await self._send(send, COMMENT)

    async def _send(self, send: Send, frame: bytes) -> None:
        self._sent_at = time.monotonic()
        await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)
