"""POST /stores/reindex, and `jurat reindex` and `jurat doctor --repair` beside a gateway."""

import asyncio
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway import doctor, reindex
from gateway.running import announce
from gateway.toml import ConfigError
from models.types import EmbedRequest, EmbedResult
from tests.contract.serving import WatchedEngine, configuration, serve, wait_until
from tests.unit.retrieval.test_indexes import spoiled

ADMIN = {"authorization": "Bearer key-a"}
OTHER = {"authorization": "Bearer key-b"}


class HeldEngine(WatchedEngine):
    """Embeds as often as `passes` says, then no more."""

    passes = math.inf

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self.passes -= 1
        if self.passes < 0:
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.closed.set()
        return await super().embed(request)


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine(context=512)


@pytest.fixture
def url(tmp_path: Path, engine: HeldEngine) -> Iterator[str]:
    found = configuration(tmp_path, keys=("ann:key-a", "bob:key-b"))
    with serve(found, {"fake": engine}) as url:
        announce(found.data_dir, url)
        yield url


@pytest.fixture
def bob(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as client:
        store = client.vector_stores.create(name="docs")
        for name in ("jam.md", "reset.md"):
            client.vector_stores.files.upload_and_poll(
                vector_store_id=store.id, file=(name, f"How to mend a {name}.".encode())
            )
        assert search(client) == 2
        yield client


def search(client: openai.OpenAI) -> int:
    (store,) = client.vector_stores.list()
    return len(client.vector_stores.search(store.id, query="mend").data)


def ask(url: str, headers: dict[str, str] = ADMIN, **body: object) -> httpx.Response:
    return httpx.post(f"{url}/stores/reindex", json=body, headers=headers, timeout=120)


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_an_administrator_has_the_indexes_of_all_owners_built(
    url: str, bob: openai.OpenAI, tmp_path: Path
) -> None:
    answer = ask(url)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *steps, done = events(answer.iter_lines())
    assert steps == [{"event": "progress", "step": "indexing", "done": 0, "total": 1}]
    assert done == {"event": "done", "embedded": 0, "stores": 1, "queued": 0}
    assert search(bob) == 2
    assert list(events(ask(url, stores=["docs"]).iter_lines()))[-1]["stores"] == 1
    assert list(events(ask(url, stores=[]).iter_lines()))[-1]["stores"] == 0


REFUSED: list[tuple[dict[str, str], dict[str, object], int, str]] = [
    (OTHER, {}, 403, "permission_denied"),
    (OTHER, {"stores": ["docs"]}, 403, "permission_denied"),
    (ADMIN, {"stores": ["nothing"]}, 404, "vector_store_not_found"),
    (ADMIN, {"stores": "docs"}, 400, "invalid_value"),
]


def test_refused(url: str) -> None:
    for headers, body, status, code in REFUSED:
        answer = ask(url, headers, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body


def spoil_words(state: Path) -> None:
    spoiled(next((state / "indexes").glob("*/words/*.term")))


def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Of the commands: the configuration that the gateway runs with."""
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    for name in ("models", "ensembles"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "fake.toml").write_text('id = "fake"\nkind = "fake"\n')
    path = tmp_path / "gateway.toml"
    path.write_text('[retrieval]\nembedder = "fake"\n[auth]\nkeys = ["ann:key-a", "bob:key-b"]\n')
    return ["--config", str(path)]


def test_commands_go_through_the_gateway(
    url: str,
    bob: openai.OpenAI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = settings(tmp_path, monkeypatch)
    spoil_words(tmp_path / "state")
    assert doctor.main(config) == 1
    assert doctor.main([*config, "--repair"]) == 0
    assert "mended" in capsys.readouterr().out
    assert doctor.main(config) == 0
    assert search(bob) == 2
    assert reindex.main(config) == 0
    assert "stores whose indexes were built: 1" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=f"{url} says: .*'nothing' does not exist"):
        reindex.main([*config, "--store", "nothing"])


def test_a_client_that_goes_ends_the_work(
    bob: openai.OpenAI, url: str, engine: HeldEngine, tmp_path: Path
) -> None:
    database = tmp_path / "state" / "retrieval.sqlite3"
    change(database, "UPDATE store_files SET embedder = 'another'")
    engine.passes = 1
    with httpx.stream(
        "POST", f"{url}/stores/reindex", json={}, headers=ADMIN, timeout=120
    ) as answer:
        told = events(answer.iter_lines())
        assert next(told) == {"event": "progress", "step": "embedding", "done": 1, "total": 2}
        assert engine.began.wait(120)
        assert ask(url).status_code == 409
    assert engine.closed.wait(120)
    engine.passes = math.inf
    wait_until(lambda: (done := ask(url)).status_code == 200 and '"embedded":1' in done.text)
    assert search(bob) == 2


def change(database: Path, sql: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(sql)
    connection.close()
