"""Bad bodies are the client's mistake, told as such, and the gateway goes on."""

import httpx
import pytest

from tests.contract.conftest import Gateway

JSON = {"content-type": "application/json"}
GOOD = b'{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}'
URLS = [
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/tokenize",
    "/detokenize",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b'{"model": "\xff\xfe"}',
        b'{"model": "\\ud800"}',
        b'{"model": NaN}',
        b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b"[" * 1_000_000,
        GOOD + b"!",
    ],
)
def test_a_bad_body_is_a_400(gateway: Gateway, url: str, body: bytes) -> None:
    answer = gateway.http.post(url, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_another_content_type_is_a_400(gateway: Gateway, url: str, headers: dict[str, str]) -> None:
    answer = gateway.http.post(url, content=GOOD, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"].startswith("invalid_content_")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON;charset=UTF8"]
)
def test_utf8_may_be_said(gateway: Gateway, kind: str) -> None:
    body = GOOD.replace(b"fake", gateway.chat_model.encode())
    body = body.replace(b'"hi"}]', b'"hi"}], "max_tokens": 2')
    answer = gateway.http.post(URLS[0], content=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text


def test_a_large_body_is_a_413(watched: httpx.Client) -> None:
    large = b'{"model": "' + b"x" * 200_000 + b'"}'
    answer = watched.post(URLS[0], content=large, headers=JSON)
    assert answer.status_code == 413
    # Without a length, the cap holds for what arrives.
    pieces = (large[start : start + 10_000] for start in range(0, len(large), 10_000))
    answer = watched.post(URLS[0], content=pieces, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert watched.post(URLS[0], content=GOOD, headers=JSON).status_code == 200
