"""HTTP to another server: one pool of connections a model. The only home of httpx2."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from models.errors import EngineUnavailable, InvalidRequest
from models.upstream import faults
from models.upstream.faults import Fault
from models.upstream.sse import EventReader, TooLong
from models.upstream_settings import UpstreamSettings

__all__ = ["Connection"]

MAX_ANSWER = 256 << 20  # bytes of an answer in one piece
MAX_ERROR = 64 << 10
PROBE_S = 10.0


class Connection:
    """Requests to the server of one model. Raises Fault, and EngineUnavailable without its key.

    `url` ends before `/chat/completions`. The API key is read anew for each request, and stands
    in no message.
    """

    def __init__(self, model: str, url: str, settings: UpstreamSettings) -> None:
        self._model = model
        self._url = url.rstrip("/")
        self._root = self._url.removesuffix("/v1")
        self._settings = settings
        self._client: httpx2.AsyncClient | None = None

    def missing_key(self) -> str | None:
        """What to set, if the key's variable is not set."""
        try:
            self._key()
        except EngineUnavailable as error:
            return str(error)
        return None

    async def call(self, path: str, body: Mapping[str, Any], *, root: bool = False) -> bytes:
        """The answer in one piece. `root` paths are beside `/v1`, not below it."""
        found = bytearray()
        url = f"{self._root if root else self._url}/{path}"
        async with aclosing(self._receive(url, body)) as source:
            async for chunk in source:
                found += chunk
                if len(found) > MAX_ANSWER:
                    raise faults.broken(self._model, f"it has more than {MAX_ANSWER} bytes")
        return bytes(found)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """The data of each event of a stream; closing this closes the connection."""
        reader = EventReader()
        async with aclosing(self._receive(f"{self._url}/{path}", body)) as source:
            async for chunk in source:
                try:
                    events = reader.feed(chunk)
                except TooLong as error:
                    raise faults.broken(self._model, str(error)) from error
                for event in events:
                    yield event

    async def probe(self, url: str = "") -> bool:
        """Whether a URL answers with success; `/models` if none is named."""
        try:
            async with asyncio.timeout(PROBE_S):
                headers = {} if url else self._headers()
                answer = await self._pool().get(url or f"{self._url}/models", headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, EngineUnavailable):
            return False
        return answer.is_success

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _receive(self, url: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        try:
            content = msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            message = "The text has a lone surrogate, which JSON cannot carry."
            raise InvalidRequest(message, "messages") from error
        request = self._pool().build_request("POST", url, content=content, headers=self._headers())
        began = False
        try:
            answer = await self._pool().send(request, stream=True)
            try:
                if not answer.is_success:
                    raise await self._refused(answer)
                async for chunk in answer.aiter_bytes():
                    began = True
                    yield chunk
            finally:
                await answer.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            why = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
            make = faults.broken if began else faults.unreachable
            raise make(self._model, self._without_key(why)) from error

    async def _refused(self, answer: httpx2.Response) -> Fault:
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_ERROR:
                break
        said = self._without_key(bytes(body[:MAX_ERROR]).decode("utf-8", "replace"))
        wait_s = faults.retry_after(answer.headers.get("retry-after"))
        key = self._settings.api_key_env
        return faults.of_status(self._model, answer.status_code, said.encode(), wait_s, key)

    def _pool(self) -> httpx2.AsyncClient:
        if self._client is None:
            connect = self._settings.connect_timeout_s
            # How long an answer may take is the engine's concern.
            self._client = httpx2.AsyncClient(
                verify=_trusted(),
                timeout=httpx2.Timeout(None, connect=connect),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", **self._settings.headers}
        key = self._key()
        if key:
            headers["authorization"] = f"Bearer {key}"
        return headers

    def _key(self) -> str | None:
        name = self._settings.api_key_env
        if name is None:
            return None
        key, path = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
        if not key and path:
            try:
                key = Path(path).expanduser().read_text("utf-8")
            except (OSError, UnicodeDecodeError, RuntimeError) as error:
                raise EngineUnavailable(
                    f"The model '{self._model}' needs an API key: {name}_FILE names a file that "
                    "cannot be read as text."
                ) from error
        key = key.strip()
        if not key:
            raise EngineUnavailable(
                f"The model '{self._model}' needs an API key: set the environment variable {name}, "
                f"or {name}_FILE to a file that holds it."
            )
        if not (key.isascii() and key.isprintable()):
            raise EngineUnavailable(f"The API key in {name} is not plain ASCII text.")
        return key

    def _without_key(self, text: str) -> str:
        try:
            key = self._key()
        except EngineUnavailable:
            return text
        return text.replace(key, "[key]") if key else text


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes a while, so once for all models."""
    return httpx2.create_ssl_context()
