"""With keys set, only their owners are served, and as themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.contract.serving import WatchedEngine, configuration, serve

HELLO: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def url(tmp_path: Path, engine: WatchedEngine) -> Iterator[str]:
    found = configuration(tmp_path, keys=("alice:key-a", "bob:key-b"))
    with serve(found, {"fake": engine}) as url:
        yield url


def test_the_key_decides_the_owner(url: str, engine: WatchedEngine) -> None:
    for owner, key in (("alice", "key-a"), ("bob", "key-b")):
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
            client.chat.completions.create(model="fake", messages=HELLO)
        assert engine.requests[-1].owner == owner


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer", "Bearer alice", "Basic key-a", "key-a"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/nope", "/metrics", "/static"])
def test_without_a_good_key_it_is_a_401(url: str, header: str | None, path: str) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = httpx.get(f"{url}{path}", headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "invalid_api_key"
    assert "key-a" not in answer.text
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]


def test_the_client_sees_an_authentication_error(url: str) -> None:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    "path",
    ["/health", "/ready", "/docs", "/redoc", "/openapi.json", "/static/swagger-ui.css"],
)
def test_what_is_public_needs_none(url: str, path: str) -> None:
    assert httpx.get(f"{url}{path}").status_code == 200


@pytest.mark.parametrize("action", ["load", "unload", "pull", "reload"])
def test_models_are_managed_with_an_admins_key(
    url: str, engine: WatchedEngine, action: str
) -> None:
    """By default the first one's. What the others ask for does not even get read."""
    path, body = f"{url}/models/{action}", {"model": "nope"}
    refused = httpx.post(path, json=body, headers={"authorization": "Bearer key-b"})
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert error["code"] == "permission_denied"
    assert "'bob'" in error["message"]
    assert "auth.admins" in error["message"]
    allowed = httpx.post(path, json=body, headers={"authorization": "Bearer key-a"})
    assert allowed.status_code == (400 if action == "reload" else 404)  # of the model, the file
    for key in ("key-a", "key-b"):
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
            client.chat.completions.create(model="fake", messages=HELLO)
