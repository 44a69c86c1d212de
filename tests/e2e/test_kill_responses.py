"""SIGKILL while responses are made: turns that were told are there, whole, and none is half."""

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_kill import OWNERS, WITHIN_S, Gateways
from tests.unit.gateway.test_cli import write_config

KILLS = 3


class Told:
    """What clients were told of."""

    def __init__(self) -> None:
        self.talks: dict[str, str] = {}
        self.turns: list[tuple[str, str, str]] = []  # owner, response, text
        self.background: list[tuple[str, str]] = []
        self._happened = threading.Semaphore(0)

    def tell(self) -> None:
        self._happened.release()

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._happened.acquire(timeout=WITHIN_S)


def asking(url: str, owner: str) -> httpx.Client:
    headers = {"authorization": f"Bearer key-{owner}"}
    return httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=60)


def use(url: str, owner: str, seed: int, told: Told) -> None:
    """Turns of one conversation, and now and then one in the background, until the gateway goes."""
    with asking(url, owner) as http, suppress(httpx.TransportError):
        if owner not in told.talks:
            told.talks[owner] = http.post("/conversations", json={}).json()["id"]
        for number in range(10_000):
            text = f"{owner} {seed} {number}"
            body = {"model": "fake", "input": text, "conversation": told.talks[owner]}
            if number % 4 == 3:
                answer = http.post("/responses", json={**body, "background": True}).json()
                told.background.append((owner, answer["id"]))
            else:
                answer = http.post("/responses", json=body).json()
                told.turns.append((owner, answer["id"], text))
            told.tell()


def use_until_killed(url: str, kill: Callable[[], None], seed: int, told: Told, turns: int) -> None:
    with ThreadPoolExecutor(len(OWNERS)) as pool:
        running = [pool.submit(use, url, owner, seed, told) for owner in OWNERS]
        told.wait(turns)
        kill()
        for each in running:
            each.result(WITHIN_S)


def check(url: str, told: Told) -> None:
    for owner, talk in told.talks.items():
        with asking(url, owner) as http:
            items = []
            page = {"has_more": True, "last_id": ""}
            while page["has_more"]:
                query = {"order": "asc", "limit": 100, "after": page["last_id"]}
                page = http.get(f"/conversations/{talk}/items", params=query).json()
                items += page["data"]
            said = [(item["role"], item["content"][0]["text"]) for item in items]
            assert [role for role, _ in said] == ["user", "assistant"] * (len(said) // 2)
            for (_, question), (_, answer) in zip(said[::2], said[1::2], strict=True):
                assert question == answer  # the fake engine repeats
            for other, response, text in told.turns:
                if other == owner:
                    found = http.get(f"/responses/{response}").json()
                    assert found["status"] == "completed"
                    assert said.count(("user", text)) == 1
            for other, response in told.background:
                if other == owner:
                    found = http.get(f"/responses/{response}").json()
                    assert found["status"] in ("completed", "failed")
                    assert (found["error"] is None) == (found["status"] == "completed")


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Gateways]:
    keys = ", ".join(f'"{owner}:key-{owner}"' for owner in OWNERS)
    found = Gateways(write_config(tmp_path, f"[auth]\nkeys = [{keys}]\n"), tmp_path / "data")
    yield found
    found.close()


def test_killed_while_responses_are_made(gateways: Gateways, tmp_path: Path) -> None:
    chance = random.Random(7)
    told = Told()
    for seed in range(KILLS):
        with gateways.running() as (url, kill):
            check(url, told)
            use_until_killed(url, kill, seed, told, chance.randint(5, 25))
    with gateways.running() as (url, _):
        check(url, told)
    assert told.turns
    connection = sqlite3.connect(tmp_path / "data" / "responses" / "responses.sqlite3")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        connection.close()
