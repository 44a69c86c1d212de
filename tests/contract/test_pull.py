"""POST /models/pull: progress as events, shared by all who ask, ended by nobody but the last."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.hub import CHUNK_BYTES
from models.hub_cache import cached
from models.hub_names import parse
from models.settings import ModelSettings
from tests.contract.serving import configuration, serve
from tests.hub_cache import Cache, content, use_hub
from tests.hub_server import FakeHub, Fault, Repository, serve_hub

SIZE = 4 * CHUNK_BYTES
SOURCE = "hf:org/tiny"
TINY = ModelSettings(id="tiny", kind="chat", source=SOURCE, quant="Q8_0")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serve_hub() as hub:
        hub.repositories["org/tiny"] = Repository({"m-Q8_0.gguf": content(SIZE)})
        yield hub


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    cache = use_hub(hub, tmp_path, monkeypatch)
    for name, value in cache.environment(hub).items():  # of the processes that pull
        monkeypatch.setenv(name, value)
    return cache


@pytest.fixture
def http(cache: Cache, tmp_path: Path) -> Iterator[httpx.Client]:
    found = configuration(tmp_path, models=("fake", TINY))
    with serve(found) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield http


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def ask(http: httpx.Client, model: str = "tiny") -> Any:
    return http.stream("POST", "/models/pull", json={"model": model})


def test_a_model_is_pulled_with_progress(http: httpx.Client, cache: Cache) -> None:
    with ask(http) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        *steps, done = events(answer)
    assert {step["event"] for step in steps} == {"progress"}
    first = {"file", "state", "done", "total", "bytes_per_second", "seconds_left"}
    assert first <= set(steps[0])
    assert (done["event"], done["bytes"], done["files"]) == ("done", SIZE, ["m-Q8_0.gguf"])
    assert Path(done["path"]).read_bytes() == content(SIZE)


def test_a_client_that_goes_ends_no_pull_that_another_waits_for(
    http: httpx.Client, hub: FakeHub, cache: Cache
) -> None:
    release = threading.Event()
    hub.faults = [Fault("/cdn/", wait=release)]
    with ask(http) as stays:
        told = events(stays)
        assert next(told)["event"] == "progress"
        with ask(http) as goes:
            assert next(events(goes))["event"] == "progress"
        assert http.get("/health").status_code == 200  # the loop has seen it go, and is free
        release.set()
        assert list(told)[-1]["event"] == "done"
    assert hub.bytes_asked(".gguf") == [""]  # one download for both


def test_when_nobody_waits_the_pull_ends_and_what_came_stays(
    http: httpx.Client, hub: FakeHub, cache: Cache
) -> None:
    release = threading.Event()
    hub.faults = [Fault("/cdn/", wait=release)]
    with ask(http) as goes:
        assert next(events(goes))["event"] == "progress"
    with ask(http) as again:
        assert list(events(again))[-1]["fetched"] < SIZE
    release.set()
    assert cached(parse(SOURCE, TINY), cache.data_dir) is not None


def test_the_end_of_the_gateway_is_the_end_of_its_pulls(
    hub: FakeHub, cache: Cache, tmp_path: Path
) -> None:
    hub.faults = [Fault("/cdn/", wait=threading.Event())]
    with (
        serve(configuration(tmp_path, models=("fake", TINY))) as url,
        httpx.Client(base_url=url, timeout=60) as http,
        ask(http) as answer,
    ):
        assert next(events(answer))["event"] == "progress"
        # `serve` asserts that the gateway has ended, with this request open.
    assert cache.pull(parse(SOURCE, TINY)).fetched < SIZE


REFUSED = [
    ("nope", 404, "model_not_found", "'nope'"),
    ("fake", 400, "invalid_value", "nothing to download"),
    ("hf:org", 400, "invalid_value", "hf:ORG/REPO"),
    ("", 400, "invalid_value", "model"),
    ("hf:org/tiny:Q2_K", 404, "no_such_file", "It has Q8_0"),
]


def test_what_cannot_be_pulled_has_a_status(http: httpx.Client) -> None:
    for model, status, code, says in REFUSED:  # of one gateway: each would take a start
        answer = http.post("/models/pull", json={"model": model})
        assert answer.status_code == status, model
        error = answer.json()["error"]
        assert error["code"] == code
        assert says in error["message"]


def test_what_goes_wrong_later_is_the_last_event(http: httpx.Client, hub: FakeHub) -> None:
    hub.faults = [Fault("/cdn/", wrong=True)]
    with ask(http) as answer:
        last = list(events(answer))[-1]
    assert last["error"]["code"] == "checksum"
    assert "m-Q8_0.gguf" in last["error"]["message"]


def test_a_token_file_is_read_for_each_pull_and_never_told(
    http: httpx.Client, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    monkeypatch.setenv("HF_TOKEN_FILE", str(token))
    missing = http.post("/models/pull", json={"model": "tiny"})
    assert missing.status_code == 403
    assert "HF_TOKEN_FILE" in missing.json()["error"]["message"]
    hub.repositories["org/tiny"].token = "hf_right"
    token.write_text("hf_wrong\n")
    wrong = http.post("/models/pull", json={"model": "tiny"})
    assert wrong.status_code == 403
    assert "hf_wrong" not in wrong.text
    token.write_text("hf_right\n")
    with ask(http) as answer:
        assert list(events(answer))[-1]["event"] == "done"


def test_it_needs_a_key_when_keys_are_set(cache: Cache, tmp_path: Path) -> None:
    with serve(configuration(tmp_path, keys=("alice:key-a",))) as url:
        answer = httpx.post(f"{url}/models/pull", json={"model": "tiny"})
    assert answer.status_code == 401
