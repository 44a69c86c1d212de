"""An HTTP server that does what a test tells it to, wrong things too."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

__all__ = ["Asked", "Script", "ScriptedServer", "chunk", "json_answer", "scripted", "stream"]


class Asked(NamedTuple):
    """A request as it came; `writer` answers it, and `gone` waits until the client has left."""

    path: str
    headers: dict[str, str]
    body: Any
    writer: asyncio.StreamWriter
    gone: Callable[[], Awaitable[bytes]]


Script = Callable[[Asked], Awaitable[None]]


class ScriptedServer:
    """Answers each request with the next script, and those after the last with the last."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.asked: list[Asked] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = head[0].split(" ")[1]
            asked = Asked(path, headers, json.loads(body or b"null"), writer, reader.read)
            self.asked.append(asked)
            script = self.scripts[min(len(self.asked), len(self.scripts)) - 1]
            await script(asked)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    """A running server; its `url` ends in /v1."""
    found = ScriptedServer(*scripts)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()


def chunk(text: str | None = None, **fields: Any) -> str:
    """One event of a chat's stream."""
    choice = {"index": 0, "delta": {} if text is None else {"content": text}}
    for name in ("delta", "finish_reason", "logprobs"):
        if name in fields:
            choice[name] = fields.pop(name)
    return f"data: {json.dumps({'choices': [choice], **fields})}\n\n"


END = chunk(finish_reason="stop", usage={"prompt_tokens": 7, "completion_tokens": 2})


def stream(*pieces: str, done: bool = True) -> Script:
    """A stream of these events; with `done` an end, its usage and [DONE] after them."""

    async def script(asked: Asked) -> None:
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        asked.writer.write("".join(pieces).encode())
        if done:
            asked.writer.write(f"{END}data: [DONE]\n\n".encode())

    return script


def json_answer(status: int, body: Any, **headers: str) -> Script:
    """One body; names of headers have `_` for `-`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", "connection: close"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def script(asked: Asked) -> None:
        asked.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)

    return script
