"""SIGKILL at any moment: what a gateway reported as done is there, nothing is half there."""

import hashlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.gateway.test_cli import write_config

# `make test-soak` has ten times as many.
KILLS = int(os.environ.get("JURAT_TEST_KILLS", "5"))
OWNERS = ("ann", "bob")
PASSAGES = 20
WITHIN_S = 120.0


class Reported:
    """What clients were told, by file id; `names` are of files that were put into a store."""

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.completed: set[str] = set()
        self.leaving: set[str] = set()  # a deletion was asked for
        self.deleted: set[str] = set()
        self._happened = threading.Semaphore(0)

    def tell(self) -> None:
        self._happened.release()

    def wait(self, reports: int) -> None:
        for _ in range(reports):
            assert self._happened.acquire(timeout=WITHIN_S)


class Client:
    """One owner's requests, any of which may be the last."""

    def __init__(self, url: str, owner: str) -> None:
        self.owner = owner
        self._http = httpx.Client(
            base_url=f"{url}/v1", headers={"authorization": f"Bearer key-{owner}"}, timeout=60
        )

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, path, **options)
        answer.raise_for_status()
        return answer.json()

    def store(self) -> str:
        held = self.ask("GET", "/vector_stores")["data"]
        made = held[0] if held else self.ask("POST", "/vector_stores", json={"name": "docs"})
        return made["id"]

    def settle(self) -> None:
        """Until nothing waits to be ingested any more."""
        path = f"/vector_stores/{self.store()}"
        wait_for(lambda: not self.ask("GET", path)["file_counts"]["in_progress"])

    def use(self, seed: int, reported: Reported) -> None:
        """Uploads, ingests and deletes until the gateway is gone."""
        try:
            store = self.store()
            for number in count():
                self._put(store, f"{self.owner}-{seed}-{number}.md", number, reported)
        except httpx.TransportError:
            return

    def _put(self, store: str, name: str, number: int, reported: Reported) -> None:
        text = "\n\n".join(f"# H{n}\n\nPassage {n} of {name} here." for n in range(PASSAGES))
        file = self.ask(
            "POST", "/files", data={"purpose": "assistants"}, files={"file": (name, text.encode())}
        )["id"]
        reported.contents[file] = hashlib.sha256(text.encode()).hexdigest()
        reported.tell()
        path = f"/vector_stores/{store}/files"
        self.ask("POST", path, json={"file_id": file, "attributes": {"name": name}})
        reported.names[file] = name
        reported.tell()
        if number % 3 == 2:
            wait_for(lambda: self.ask("GET", f"{path}/{file}")["status"] == "completed")
            reported.completed.add(file)
            reported.tell()
        if number % 5 == 4:
            reported.leaving.add(file)
            self.ask("DELETE", f"/files/{file}")
            reported.deleted.add(file)
            reported.tell()

    def passages(self, name: str) -> list[str]:
        """The file ids of all passages that a search finds of a file."""
        found = self.ask(
            "POST",
            f"/vector_stores/{self.store()}/search",
            json={
                "query": f"Passage 3 of {name} here",
                "filters": {"type": "eq", "key": "name", "value": name},
                "max_num_results": 50,
            },
        )["data"]
        assert all(hit["filename"] == name for hit in found)
        return [hit["file_id"] for hit in found]


def wait_for(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # as clients do it: they ask


def check_tables(folder: Path) -> None:
    connection = sqlite3.connect(folder / "retrieval.sqlite3")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        half = """SELECT * FROM (SELECT sf.*, (SELECT COUNT(*) FROM chunks c
            WHERE c.store_file = sf.seq) AS there, (SELECT COUNT(*) FROM chunks c
            JOIN embeddings e ON e.chunk_id = c.id WHERE c.store_file = sf.seq) AS vectors
            FROM store_files sf) WHERE there != chunk_count OR vectors != there
            OR (status = 'completed') != (there > 0)"""
        assert connection.execute(half).fetchall() == []
    finally:
        connection.close()


def check_contents(folder: Path, reported: Reported) -> None:
    kept = {path.name for path in (folder / "files").rglob("*") if path.is_file()}
    connection = sqlite3.connect(folder / "retrieval.sqlite3")
    try:
        held = dict(connection.execute("SELECT id, sha256 FROM files").fetchall())
    finally:
        connection.close()
    assert kept == set(held.values())  # nothing is left that no file has
    for file, sha256 in reported.contents.items():
        if file in held:
            assert file not in reported.deleted
            assert held[file] == sha256
        else:  # perhaps killed before its deletion could be said
            assert file in reported.leaving


def check_searches(url: str, reported: Reported, files: set[str]) -> None:
    for owner in OWNERS:
        client = Client(url, owner)
        for file in files:
            name = reported.names[file]
            if not name.startswith(owner):
                continue
            found = client.passages(name)
            if file in reported.deleted:
                assert found == []
            elif file not in reported.leaving or found:
                assert found == [file] * PASSAGES
        client.close()


class Gateways:
    """One gateway at a time, each a process of its own, over one data directory."""

    def __init__(self, config: Path, folder: Path) -> None:
        folder.mkdir()
        command = [sys.executable, "-m", "tests.e2e.forked_gateway", "--config", str(config)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--log-level", "warning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JURAT_DATA_DIR": str(folder)},
        )

    @contextmanager
    def running(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yields the address of one that is ready, and what kills it."""
        self._say("start")
        said = self._hear() + self._hear()  # in either order
        match = re.search(r"started (\d+)", said)
        address = re.search(r"http://\S+:\d+", said)
        assert match, said
        assert address, said
        child, url = int(match[1]), address[0]
        try:
            wait_for(lambda: httpx.get(f"{url}/ready").is_success)
            yield url, lambda: os.kill(child, signal.SIGKILL)
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            assert self._hear() == "ended -9\n"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(WITHIN_S)
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def use_until_killed(
    url: str, kill: Callable[[], None], seed: int, reports: int, reported: Reported
) -> None:
    """Kills after so many reports; what it does at that moment is left to chance."""
    clients = [Client(url, owner) for owner in OWNERS]
    with ThreadPoolExecutor(len(clients)) as pool:
        running = [pool.submit(client.use, seed, reported) for client in clients]
        reported.wait(reports)
        kill()
        for each in running:
            each.result(WITHIN_S)
    for client in clients:
        client.close()


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Gateways]:
    keys = ", ".join(f'"{owner}:key-{owner}"' for owner in OWNERS)
    found = Gateways(write_config(tmp_path, f"[auth]\nkeys = [{keys}]\n"), tmp_path / "data")
    yield found
    found.close()


@pytest.mark.timeout(120 + 60 * KILLS)  # a guard against a hang, on a machine with other work too
def test_killed_again_and_again(gateways: Gateways, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    chance = random.Random(20)
    reported = Reported()
    checked: set[str] = set()
    for seed in range(KILLS):
        with gateways.running() as (url, kill):
            check_contents(folder, reported)
            check_searches(url, reported, reported.completed - checked)
            checked |= reported.completed
            use_until_killed(url, kill, seed, chance.randint(1, 20), reported)
        check_tables(folder)
    assert reported.completed
    with gateways.running() as (url, _):
        check_contents(folder, reported)
        for owner in OWNERS:
            client = Client(url, owner)
            client.settle()
            client.close()
        # What was reported as waiting is ingested now.
        check_searches(url, reported, set(reported.names))
    check_tables(folder)
