"""The gateways that the contract is checked on."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import openai
import pytest

from gateway.settings import ServerSettings
from tests.contract.serving import WatchedEngine, configuration, serve


class Gateway(NamedTuple):
    """A running gateway, what it serves, and clients of it."""

    url: str
    chat_model: str
    embedding_model: str
    dimension: int
    client: openai.OpenAI
    http: httpx.Client


@pytest.fixture(scope="module", params=["fake"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Any gateway. A kind of engine is added by adding a parameter."""
    assert request.param == "fake"
    found = configuration(tmp_path_factory.mktemp("gateway"), models=("fake", "org/other:1"))
    with (
        serve(found) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        yield Gateway(url, "fake", "fake", 32, client, http)


@pytest.fixture
def engine() -> WatchedEngine:
    """The engine behind `watched`."""
    return WatchedEngine(context=512)


@pytest.fixture
def watched(tmp_path: Path, engine: WatchedEngine) -> Iterator[httpx.Client]:
    """A gateway whose one engine can be watched; comments come fast."""
    server = ServerSettings(keep_alive_s=0.05, max_body_bytes=100_000)
    found = configuration(tmp_path, server=server)
    with serve(found, {"fake": engine}) as url, httpx.Client(base_url=url, timeout=20) as http:
        yield http
