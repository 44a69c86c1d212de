"""Log lines cannot be forged, and request ids are the client's only if sane."""

import logging
from typing import Any

import pytest

from gateway.logs import AccessLog, OneLine


def test_a_record_stays_on_one_line() -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "a\nb\r\nc", None, None)
    assert OneLine("%(message)s").format(record) == "a\\nb\\r\\nc"


async def call(headers: list[tuple[bytes, bytes]], path: str = "/x") -> dict[str, str]:
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "state": {}}
    await AccessLog(app)(scope, None, send)  # type: ignore[arg-type]
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_a_sane_request_id_is_kept() -> None:
    assert (await call([(b"x-request-id", b"abc-1")]))["x-request-id"] == "abc-1"


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b'a"b', "é".encode()])
async def test_another_one_is_replaced(value: bytes) -> None:
    assert (await call([(b"x-request-id", value)]))["x-request-id"].startswith("req_")


async def test_the_access_log_has_its_fields_and_quotes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jurat.access"):
        await call([(b"authorization", b"Bearer topsecret")], '/a b\n"c=d')
    (record,) = caplog.records
    text = record.getMessage()
    assert 'path="/a b\\n\\"c=d"' in text
    assert "method=GET" in text
    assert "status=200" in text
    assert "topsecret" not in text


async def test_an_error_outside_litestar_has_an_error_body() -> None:
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
    await AccessLog(app)(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert b"internal_error" in sent[1]["body"]
    assert b"secret" not in sent[1]["body"]
