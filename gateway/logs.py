"""Logs, one line an event, and the ASGI layer that writes one for every request.

A line is `time level logger message key=value …`. Prompts, answers and keys are never logged.
"""

import asyncio
import json
import logging
import re
import sys
import time
import uuid

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gateway.auth import owner_of
from gateway.errors import send_error, shutting_down

__all__ = ["AccessLog", "configure"]

access = logging.getLogger("jurat.access")

SANE_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
BARE = re.compile(r"^[^\s\"=]+$")


class OneLine(logging.Formatter):
    """Keeps a record on one line, tracebacks included, so that no text can forge another."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def configure(level: str) -> None:
    """Send all logs to stderr. Called by the command, never at import."""
    formatter = OneLine(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    root = logging.StreamHandler(sys.stderr)
    root.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[root], force=True)
    least = max(logging.INFO, logging.getLevelNamesMapping()[level.upper()])
    for name in ("asyncio", "uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(least)
    # It logs each request; what goes wrong with one is said by who made it.
    logging.getLogger("httpx2").setLevel(max(logging.WARNING, least))


class AccessLog:
    """The outermost layer: gives each request its id, and logs how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_id(scope) or f"req_{uuid.uuid4().hex}"
        scope["state"]["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if status:
                raise
            # Only the server's shutdown cancels a request.
            await send_error(scope, send_with_id, shutting_down())
        except Exception as error:
            if status:
                raise
            await send_error(scope, send_with_id, error)
        finally:
            elapsed_ms = (time.perf_counter() - started) * 1000
            _log_access(scope, status, elapsed_ms, request_id)


def _client_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if SANE_ID.match(text) else None
    return None


def _log_access(scope: HTTPScope, status: int, elapsed_ms: float, request_id: str) -> None:
    if not access.isEnabledFor(logging.INFO):
        return
    fields = {
        "method": str(scope["method"]),
        "path": scope["path"],
        "status": str(status or 499),  # nothing was sent: the client had gone
        "ms": f"{elapsed_ms:.1f}",
        "request_id": request_id,
        "owner": owner_of(scope),
    }
    access.info("%s", " ".join(f"{name}={_quote(value)}" for name, value in fields.items()))


def _quote(value: str) -> str:
    return value if BARE.match(value) else json.dumps(value)
