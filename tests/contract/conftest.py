"""The gateways that the contract is checked on."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import openai
import pytest
from msgspec.structs import replace

from gateway.config_files import Configuration
from gateway.settings import ServerSettings
from models.engine import Engine
from models.engines.fake import FakeEngine
from models.types import TextPrompt, TokenizeRequest
from tests.contract.serving import WatchedEngine, configuration, serve, wait_ready
from tests.gguf_models import write_minilm
from tests.real_models import MINILM, SMOLLM2

# An id with everything in it that a path could stumble over.
SLASHED = "org/other:1"
CONTEXT = 256  # small, and one block of attention: greedy answers are the same every time


class Gateway(NamedTuple):
    """A running gateway, what it serves, and clients of it."""

    url: str
    chat_model: str
    embedding_model: str
    dimension: int
    client: openai.OpenAI
    http: httpx.Client


@contextmanager
def running(
    found: Configuration,
    chat_model: str,
    embedding_model: str,
    dimension: int,
    engines: Mapping[str, Engine] | None = None,
) -> Iterator[Gateway]:
    """A gateway whose models are ready."""
    with (
        serve(found, engines) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        wait_ready(http)
        yield Gateway(url, chat_model, embedding_model, dimension, client, http)


@pytest.fixture(scope="package")
def fake_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The deterministic engine, which loads nothing."""
    found = configuration(tmp_path_factory.mktemp("fake"), models=("fake", SLASHED))
    engine = FakeEngine(context=CONTEXT)

    async def learn() -> None:  # its vocabulary is what it was ever asked to tokenise
        await engine.start()
        await engine.tokenize(TokenizeRequest(TextPrompt("zero one two")))

    asyncio.run(learn())
    with running(found, "fake", "fake", 32, {"fake": engine}) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def local_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Real models in worker processes, loaded once for all tests of this folder."""
    # One thread each: what is asked here is small, and the machine may have other work.
    chat = replace(SMOLLM2, context=CONTEXT, kv_tokens=CONTEXT, threads=1)
    embedder = replace(MINILM, threads=1)
    found = configuration(tmp_path_factory.mktemp("local"), models=(embedder, chat, SLASHED))
    with running(found, chat.id, embedder.id, 384) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def gguf_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """An embedding model that llama.cpp runs. It has no model to chat with but a fake one."""
    folder = tmp_path_factory.mktemp("gguf")
    source = f"file:{write_minilm(folder / 'minilm.gguf')}"
    embedder = replace(MINILM, source=source, threads=1)
    found = configuration(folder, models=(embedder, SLASHED))
    with running(found, SLASHED, embedder.id, 384) as gateway:
        yield gateway


@pytest.fixture(params=["fake", "local"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Every kind of engine behind a gateway; another one is another parameter."""
    return request.getfixturevalue(f"{request.param}_gateway")


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
