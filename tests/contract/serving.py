"""A gateway on a real port, in a thread with its own event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from gateway.app import create_app
from gateway.config_files import Configuration
from gateway.http_protocol import HttpProtocol
from gateway.serve import listen
from gateway.settings import AuthSettings, GatewaySettings, RetrievalSection, ServerSettings
from models.engine import Engine
from models.engines.fake import FakeEngine
from models.settings import ModelSettings
from models.types import GenerateDelta, GenerateRequest, TokenizeRequest

__all__ = ["WatchedEngine", "configuration", "serve", "wait_ready", "wait_until"]

READY_WITHIN_S = 120.0  # generous: how fast it is stands in docs/benchmarks.md


class WatchedEngine(FakeEngine):
    """A fake engine whose generations tell other threads when they begin and end.

    The message "hold" is answered with one word and then nothing, "silence" with nothing at all,
    until `release` is called or the generation is closed. While it is `mute` no words become
    tokens and no tokens words.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.began = threading.Event()
        self.closed = threading.Event()
        self.mute = False
        self.requests: list[GenerateRequest] = []
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await super().start()

    def forget(self) -> None:
        """As if nothing had been asked yet."""
        self.requests.clear()
        self.began.clear()
        self.closed.clear()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.clear)

    def release(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.set)

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        await self._speech()
        return await super().tokenize(request)

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        await self._speech()
        return await super().detokenize(tokens, special=special)

    async def _speech(self) -> None:
        try:
            if self.mute:
                self.began.set()
                await self._released.wait()
        except asyncio.CancelledError:
            self.closed.set()
            raise

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        self.requests.append(request)
        text = request.prompt.messages[-1].content  # type: ignore[union-attr]
        self.began.set()
        source = super().generate(request)
        try:
            if text.startswith("silence"):
                await self._released.wait()
            async for delta in source:
                yield delta
                if text.startswith("hold"):
                    await self._released.wait()
        finally:
            await source.aclose()
            self.closed.set()


def configuration(
    folder: Path,
    *,
    models: Iterable[str | ModelSettings] = ("fake",),
    keys: tuple[str, ...] = (),
    server: ServerSettings | None = None,
) -> Configuration:
    """A configuration that needs no file. A model that is only a name is a fake one.

    The first model embeds the documents.
    """
    entries = [
        ModelSettings(id=model, kind="fake", context=512) if isinstance(model, str) else model
        for model in models
    ]
    return Configuration(
        settings=GatewaySettings(
            server=server or ServerSettings(),
            auth=AuthSettings(keys=list(keys)),
            retrieval=RetrievalSection(embedder=entries[0].id),
        ),
        models={entry.id: entry for entry in entries},
        ensembles={},
        source=folder / "gateway.toml",
        directory=folder,
        data_dir=folder / "state",
    )


@contextmanager
def serve(found: Configuration, engines: Mapping[str, Engine] | None = None) -> Iterator[str]:
    """Run a gateway and give its base URL once it answers; `wait_ready` waits for its models."""
    app = create_app(found, engines=engines)
    sock = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started, "the gateway did not start"
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()
    assert not thread.is_alive()


def wait_ready(http: httpx.Client) -> None:
    """Until every model is loaded and every store filled."""
    deadline = time.monotonic() + READY_WITHIN_S
    while http.get("/ready").status_code != 200:
        assert time.monotonic() < deadline, http.get("/health").text
        time.sleep(0.02)  # readiness has no event to wait for but asking


def wait_until(reached: Callable[[], bool]) -> None:
    """Until something is so that has no event to wait for but asking."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
