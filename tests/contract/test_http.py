"""What clients, monitors and strangers send that is not quite the usual request."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.http_protocol import MAX_HEAD_BYTES, HttpProtocol

BODY = b'{"model": "fake", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}'
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n" % len(BODY)
)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def answers(http: httpx.Client, *pieces: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Status and JSON of all that comes back until the gateway closes the connection."""
    place = urlsplit(str(http.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=30) as sock:
        for piece in pieces:
            sock.sendall(piece)
        found = b"".join(iter(lambda: sock.recv(65536), b""))
    answered: list[tuple[int, dict[str, Any]]] = []
    while found:
        head, _, found = found.partition(b"\r\n\r\n")
        names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(names[b"content-length"])
        answered.append((int(head.split()[1]), json.loads(found[:length])))
        found = found[length:]
    return answered


@pytest.mark.parametrize("offer", [H2C, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
@pytest.mark.parametrize("cut", [0, 40, len(HEAD) + 20, -5])
def test_an_offer_of_another_protocol_changes_nothing(
    watched: httpx.Client, offer: bytes, cut: int
) -> None:
    asked = HEAD + offer + b"\r\n" + BODY
    (status, chat), (after, health) = answers(watched, asked[:cut], asked[cut:], HEALTH)
    assert (status, chat.get("object")) == (200, "chat.completion"), chat
    assert (after, health["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"BREW /v1/models HTTP/1.1\r\n\r\n", 400, "invalid_http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid_http"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "invalid_http"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, "invalid_http"),
        (b"CONNECT /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * (MAX_HEAD_BYTES + 65536), 431, "headers_too_large"),
    ],
)
def test_what_is_no_request_is_told_so_in_the_form_of_every_error(
    watched: httpx.Client, sent: bytes, status: int, code: str
) -> None:
    ((found, body),) = answers(watched, sent)
    assert (found, body["error"]["code"]) == (status, code)
    assert watched.get("/health").status_code == 200


@pytest.mark.parametrize("sent", [HEAD[:20], HEAD, HEAD + b"\r\n", HEAD + b"\r\n" + BODY[:9]])
def test_a_request_that_stops_half_way_is_given_up(
    watched: httpx.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(HttpProtocol, "HEAD_S", 0.2)
    monkeypatch.setattr(HttpProtocol, "PAUSE_S", 0.2)
    status, body = answers(watched, sent)[-1]
    assert (status, body["error"]["code"]) == (408, "request_timeout")


def test_a_connection_on_which_nothing_is_asked_is_closed(
    watched: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpProtocol, "HEAD_S", 0.2)
    assert answers(watched) == []


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/docs", "/metrics"])
def test_what_has_a_get_has_a_head(watched: httpx.Client, path: str) -> None:
    answer = watched.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == watched.get(path).headers["content-type"]


def test_what_is_only_posted_to_has_no_head(watched: httpx.Client) -> None:
    assert watched.head("/v1/chat/completions").status_code == 405
    assert watched.head("/v1/nothing").status_code == 404
