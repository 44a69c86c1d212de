"""Cross-origin requests: which web pages' scripts may use the gateway from a browser."""

from collections.abc import Sequence

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

__all__ = ["CrossOrigin"]

METHODS = b"GET, HEAD, POST, DELETE"
EXPOSED = b"x-request-id, retry-after, openai-poll-after-ms"
PREFLIGHT_S = b"600"  # for which a browser need not ask again


class CrossOrigin:
    """Tells browsers which origins may read answers, and answers their preflights.

    A preflight bears no key, so this stands around what asks for one. What another origin sends is
    served as ever: its browser keeps the answer from it.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._every = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = self._allowed(scope)
        if origin is None:
            await self._app(scope, receive, send)
            return
        granted = [(b"access-control-allow-origin", b"*" if self._every else origin)]
        if not self._every:
            granted.append((b"vary", b"origin"))
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method"):
            await _preflight(scope, send, granted)
            return
        granted.append((b"access-control-expose-headers", EXPOSED))

        async def send_granted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *granted]
            await send(message)

        await self._app(scope, receive, send_granted)

    def _allowed(self, scope: HTTPScope) -> bytes | None:
        """The origin of the request, if it has one that may."""
        origin = _header(scope, b"origin")
        return origin if origin and (self._every or origin in self._origins) else None


async def _preflight(scope: HTTPScope, send: Send, granted: list[tuple[bytes, bytes]]) -> None:
    headers = [
        *granted,
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", PREFLIGHT_S),
    ]
    if wanted := _header(scope, b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _header(scope: HTTPScope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")
