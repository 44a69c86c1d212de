"""HTTP/1.1 as uvicorn reads it, but: an error of it is one like all others, a head has a limit in
size, a request one in time, and an offer to go over to another protocol is no fault.
"""

import asyncio
from http import HTTPStatus
from typing import ClassVar, cast

import httptools
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.errors import ApiError, BadRequest, encode

__all__ = ["MAX_HEAD_BYTES", "HttpProtocol", "head_as_get"]

MAX_HEAD_BYTES = 256 * 1024  # of one request: its line and its headers


class HttpProtocol(HttpToolsProtocol):
    """Reads a request that offers another protocol as if it did not.

    Java's own client, for one, offers HTTP/2 with each first request, body and all. httptools
    takes what follows such a head for the other protocol and would lose that body, so h11 reads
    the connection from there on.
    """

    OFFERS: ClassVar = frozenset({b"upgrade", b"http2-settings"})
    HEAD_S: ClassVar = 60.0  # a request's head is here by then, or the connection ends
    PAUSE_S: ClassVar = 60.0  # in which some of a body comes that is not whole
    _head_bytes: int | None = None  # of a request whose head has begun and not ended
    _patience: asyncio.TimerHandle | None = None  # with a request that is not whole

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self.HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parser().feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._offers():  # and not CONNECT, which is answered like any unknown method
                self._hand_over(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("This is not HTTP.")
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"The headers are larger than {MAX_HEAD_BYTES} bytes."
                self._refuse(ApiError(431, message, code="headers_too_large"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._wait(self.HEAD_S)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._wait(self.PAUSE_S)
        if not self._offers():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._wait(self.PAUSE_S)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._wait(None)
        if not self._offers():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest(msg, code="invalid_http"))

    def _wait(self, seconds: float | None) -> None:
        """Give up the connection after so long; None: what was waited for is here."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if seconds is not None:
            self._patience = self.loop.call_later(seconds, self._give_up, seconds)

    def _give_up(self, seconds: float) -> None:
        if self.flow.read_paused:  # what does not come is not the client's fault
            self._wait(seconds)
        elif self._head_bytes is None and self._cycle() is None:
            self.transport.close()  # nothing was asked
        else:
            message = f"The request is not whole, and nothing more came for {seconds:g} seconds."
            self._refuse(ApiError(408, message, code="request_timeout"))

    def _refuse(self, error: ApiError) -> None:
        """Answer before there is a request, and close; an answer that is under way just ends."""
        if not self._answering():
            body = encode(error)
            self.transport.write(
                b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s"
                % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), body)
            )
        self.transport.close()

    def _parser(self) -> httptools.HttpRequestParser:
        return cast("httptools.HttpRequestParser", self.parser)  # None after the connection's end

    def _cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # None before the first request

    def _answering(self) -> bool:
        cycle = self._cycle()
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body or bool(self.pipeline)

    def _offers(self) -> bool:
        return self._parser().should_upgrade() and self._parser().get_method() != b"CONNECT"

    def _hand_over(self, rest: bytes) -> None:
        """Give h11 the head without the offer, and what came after it."""
        if self._answering():
            self.transport.close()  # two readers cannot answer in turn
            return
        head = [self._parser().get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in self.OFFERS:
                head += [name, b": ", value, b"\r\n"]
        self._wait(None)
        self.connections.discard(self)
        reader = H11Protocol(self.config, self.server_state, self.app_state)
        reader.connection_made(self.transport)
        self.transport.set_protocol(reader)
        reader.data_received(b"".join([*head, b"\r\n", rest]))


def head_as_get(app: ASGIApp) -> ASGIApp:
    """Whatever has a GET has a HEAD too, as monitors ask."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # A copy: uvicorn keeps the body back by what stands in its own.
            scope = cast("Scope", {**scope, "method": "GET"})
        await app(scope, receive, send)

    return served
