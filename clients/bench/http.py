"""A bare HTTP/1.1 client on asyncio streams.

The load client runs on the cores of the server it measures. For a chunk of a stream this reader
takes about 40 µs of processor time, httpx 150 to 250 µs and the openai SDK 450 µs.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from clients.api import ClientError

__all__ = ["Endpoint", "Response", "exchange"]

CONNECT_S = 10.0
BLOCK = 65_536


@dataclass(frozen=True)
class Endpoint:
    """A server under test."""

    name: str
    url: str  # without a trailing slash or /v1
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None  # what this server calls the model, if not what the plan says

    def named(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request's body with this server's name of the model."""
        return body if self.model is None else {**body, "model": self.model}


@dataclass(frozen=True)
class Response:
    """A status, and the body as it arrives."""

    status: int
    pieces: AsyncIterator[bytes]

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces])


@asynccontextmanager
async def exchange(
    endpoint: Endpoint, method: str, path: str, body: bytes = b""
) -> AsyncGenerator[Response]:
    """Send one request on a connection of its own. Raises ClientError where it breaks."""
    parts = urlsplit(endpoint.url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=ssl.create_default_context() if secure else None
            )
        writer.write(_head(endpoint, method, parts.netloc, parts.path + path, len(body)) + body)
        await writer.drain()
        status, headers = await _response_head(reader)
        yield Response(status, _pieces(reader, headers))
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or "timed out"
        raise ClientError(f"{endpoint.name} at {endpoint.url}: {reason}") from error
    finally:
        if writer is not None:
            writer.close()


def _head(endpoint: Endpoint, method: str, host: str, path: str, length: int) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    if endpoint.api_key:
        lines.append(f"Authorization: Bearer {endpoint.api_key}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _response_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.split("\r\n")
    if not first.startswith("HTTP/1."):
        raise ValueError("this is no HTTP server")
    named = (line.partition(":") for line in rest if line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in named}


async def _pieces(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0] or b"-1", 16):
            if size < 0:
                raise ValueError("the connection was closed in the middle of an answer")
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while piece := await reader.read(BLOCK):
            yield piece
