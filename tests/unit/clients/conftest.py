import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

ENSEMBLE: dict[str, Any] = {
    "strategy": "majority",
    "execution": "sequential",
    "explanation": "Two of three members agree.",
    "answer_value": "36",
    "answer_unit": "months",
    "is_blank": False,
    "ref_id": ["warranty"],
    "agreement": 2 / 3,
    "confidence": 0.5,
    "votes": [
        {
            "model": "first",
            "answer": "36 months",
            "answer_value": "36",
            "answer_unit": "months",
            "is_blank": False,
            "ref_id": ["warranty"],
            "passages": [1],
            "weight": 1.0,
            "grounded": True,
            "latency_ms": 907.4,
            "error": None,
        },
        {
            "model": "second",
            "answer": "",
            "answer_value": "",
            "answer_unit": "",
            "is_blank": True,
            "ref_id": [],
            "passages": [],
            "weight": 1.0,
            "grounded": False,
            "latency_ms": 99.0,
            "error": "The worker ended.",
        },
    ],
    "sources": [
        {
            "n": 1,
            "document_id": "warranty",
            "file_id": "file-1",
            "filename": "warranty.md",
            "page": 2,
            "start": 0,
            "end": 40,
            "score": 0.8125,
            "text": "A laptop has\n36 months of \x1b[31mwarranty.",
        }
    ],
}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
TIMINGS = {"queue_ms": 1.0, "decode_ms": 5.5}


@dataclass
class Gateway:
    """A stub on loopback that answers every POST alike and remembers the requests."""

    url: str = ""
    status: int = 200
    reply: bytes = b""
    content_type: str = "text/event-stream"
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str | None] = field(default_factory=list[str | None])
    model: dict[str, Any] = field(default_factory=lambda: {"id": "m"})

    def streams(self, *events: object, done: bool = True) -> None:
        frames = [b": keep-alive\n\n"]
        frames += [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
        self.reply = b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")

    def says(self, body: object, status: int = 200) -> None:
        self.status, self.reply = status, json.dumps(body).encode()
        self.content_type = "application/json"


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    for name in ("JURAT_URL", "JURAT_API_KEY", "OPENAI_API_KEY", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    stub = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/v1/models":
                self._reply(json.dumps({"object": "list", "data": [stub.model]}).encode(), 200)
            elif self.path == "/v1/models/m":
                self._reply(json.dumps(stub.model).encode(), 200)
            else:
                self._reply(b"{}", 404)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            stub.bodies.append(json.loads(self.rfile.read(length)))
            stub.keys.append(self.headers["Authorization"])
            self._reply(stub.reply, stub.status)

        def _reply(self, body: bytes, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", stub.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


def chunk(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "rag-ensemble",
        "choices": choices,
        **more,
    }


def deliberation() -> list[dict[str, Any]]:
    """The chunks of an ensemble's answer."""
    return [
        chunk({"role": "assistant", "reasoning_content": "first: 36 months\n"}, usage=None),
        chunk({"content": "36 "}, usage=None),
        chunk({"content": "months [1]"}, usage=None),
        chunk({"annotations": []}, "stop", usage=None, ensemble=ENSEMBLE),
        chunk(None, usage=USAGE, timings=TIMINGS),
    ]
