"""Models loaded and unloaded on demand, through HTTP: the router's endpoints, reload, metrics."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from gateway.config_files import load_configuration
from gateway.settings import ServerSettings
from models.engines.fake import FakeEngine
from models.errors import LoadFailed
from models.types import GenerateDelta, GenerateRequest
from tests.contract.serving import configuration, serve, wait_ready, wait_until

HELLO: list[Any] = [{"role": "user", "content": "Say one two"}]


class SlowEngine(FakeEngine):
    """Is loaded when `let` is set; then answers as ever. Counts its loads."""

    def __init__(self, *, fail: bool = False) -> None:
        super().__init__()
        self.let = threading.Event()
        self.let.set()
        self.fail = fail
        self.loads = 0

    async def start(self) -> None:
        self.loads += 1
        await asyncio.to_thread(self.let.wait, 30)
        if self.fail:
            raise LoadFailed("it is made of stone", "the last line")
        await super().start()


class Rig:
    """A gateway with one model on demand and an ensemble-free catalog."""

    def __init__(self, url: str, http: httpx.Client, engine: SlowEngine) -> None:
        self.url = url
        self.http = http
        self.engine = engine

    def status(self, model: str = "slow") -> dict[str, Any]:
        rows = self.http.get("/models").json()["data"]
        return next(row["status"] for row in rows if row["id"] == model)

    def wait_status(self, value: str, model: str = "slow") -> None:
        wait_until(lambda: self.status(model)["value"] == value)

    def chat(self, model: str = "slow", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def state(self, model: str = "slow") -> str:
        return self.http.get(f"/v1/models/{model}").json()["state"]


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
def rig(tmp_path: Path, engine: SlowEngine) -> Iterator[Rig]:
    found = configuration(tmp_path, models=("fake", "slow"), server=ServerSettings(keep_alive_s=1))
    slow = msgspec.structs.replace(found.models["slow"], preload=False, aliases=["snail"])
    pulled = msgspec.structs.replace(
        slow, id="away", kind="chat", source="hf:org/repo:Q4_K_M", aliases=[]
    )
    found = msgspec.structs.replace(found, models={**found.models, "slow": slow, "away": pulled})
    with serve(found, {"slow": engine}) as url, httpx.Client(base_url=url, timeout=30) as http:
        wait_ready(http)  # does not wait for what is loaded on demand
        yield Rig(url, http, engine)


def test_a_model_is_loaded_by_its_first_request_by_any_name(rig: Rig) -> None:
    assert rig.state() == "unloaded"
    assert rig.status()["value"] == "unloaded"
    answer = rig.chat("snail")
    assert answer.status_code == 200
    assert answer.json()["model"] == "snail"
    assert rig.state() == "ready"
    assert rig.state("snail") == "ready"
    assert rig.engine.loads == 1


def test_the_buttons_load_and_unload(rig: Rig) -> None:
    rig.engine.let.clear()
    assert rig.http.post("/models/load", json={"model": "slow"}).json() == {"success": True}
    rig.wait_status("loading")
    assert rig.state() == "loading"
    assert rig.http.get("/ready").status_code == 200
    rig.engine.let.set()
    rig.wait_status("loaded")
    assert rig.http.post("/models/unload", json={"model": "slow"}).json() == {"success": True}
    rig.wait_status("unloaded")
    assert rig.chat().status_code == 200
    assert rig.engine.loads == 2


def test_a_failed_load_is_told_and_can_be_tried_again(rig: Rig) -> None:
    rig.engine.fail = True
    answer = rig.chat()
    assert answer.status_code == 503
    assert "made of stone" in answer.json()["error"]["message"]
    assert rig.chat().status_code == 503
    assert rig.engine.loads == 1  # a request does not try again what failed
    status = rig.status()
    assert status["value"] == "unloaded"
    assert status["failed"] is True
    assert "made of stone" in status["detail"]
    assert status["log_tail"] == "the last line"
    assert rig.http.get("/health").json()["status"] == "degraded"
    rig.engine.fail = False
    rig.http.post("/models/load", json={"model": "slow"})
    rig.wait_status("loaded")
    assert rig.chat().status_code == 200


def test_what_is_not_downloaded_is_in_the_catalog_only(rig: Rig) -> None:
    rows = {row["id"]: row for row in rig.http.get("/models").json()["data"]}
    assert rows["away"]["downloaded"] is False
    assert rows["away"]["status"]["value"] == "unloaded"
    assert rows["slow"]["downloaded"] is True
    assert "away" not in [row["id"] for row in rig.http.get("/v1/models").json()["data"]]
    for answer in (rig.chat("away"), rig.http.post("/models/load", json={"model": "away"})):
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert error["code"] == "model_not_downloaded"
        assert "jurat pull away" in error["message"]


@pytest.mark.parametrize("path", ["/models/load", "/models/unload"])
def test_who_names_no_model_is_told(rig: Rig, path: str) -> None:
    assert rig.http.post(path, json={"model": "nope"}).status_code == 404
    missing = rig.http.post(path, json={})
    assert missing.status_code == 400
    assert "model" in missing.json()["error"]["message"]


def chat_texts(client: openai.OpenAI) -> Iterator[tuple[Any, str]]:
    """Each chunk's event, and what it adds."""
    for chunk in client.chat.completions.create(model="slow", messages=HELLO, stream=True):
        yield (chunk.model_extra or {}).get("event"), chunk.choices[0].delta.content or ""


def completion_texts(client: openai.OpenAI) -> Iterator[tuple[Any, str]]:
    text = HELLO[0]["content"]
    for chunk in client.completions.create(model="slow", prompt=text, stream=True):
        yield (chunk.model_extra or {}).get("event"), chunk.choices[0].text


@pytest.mark.parametrize("stream", [chat_texts, completion_texts])
def test_a_cold_start_is_told_in_the_stream(
    rig: Rig, stream: Callable[[openai.OpenAI], Iterator[tuple[Any, str]]]
) -> None:
    rig.engine.let.clear()
    events: list[Any] = []
    content = ""
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        for event, text in stream(client):
            if event is not None:
                events.append(event)
                rig.engine.let.set()
            content += text
        assert [event["type"] for event in events] == ["status", "status"]
        assert [event["data"]["done"] for event in events] == [False, True]
        assert "slow" in events[0]["data"]["description"]
        assert content == HELLO[0]["content"]
        assert not any(event for event, _ in stream(client))  # it is warm now


def test_metrics_tell_of_models_and_routes(rig: Rig) -> None:
    rig.chat()
    rig.http.get("/v1/models/slow")
    text = rig.http.get("/metrics").text
    assert 'jurat_model_state{model="slow",state="ready"} 1.0' in text
    assert 'jurat_model_loads_total{model="slow"} 1.0' in text
    assert 'jurat_model_completion_tokens_total{model="slow"} 3.0' in text
    assert 'jurat_model_restarts_total{model="slow"} 0.0' in text
    route = 'method="POST",route="/v1/chat/completions",status="200"'
    assert f"jurat_http_requests_total{{{route}}} 1.0" in text
    assert 'route="/v1/models/{model:path}"' in text or 'route="/v1/models/{model}"' in text
    assert "jurat_http_request_seconds_bucket" in text


@pytest.mark.parametrize("public", [False, True])
def test_metrics_need_a_key_unless_they_are_public(tmp_path: Path, public: bool) -> None:
    server = ServerSettings(public_metrics=public)
    found = configuration(tmp_path, keys=("ann:secret",), server=server)
    with serve(found) as url, httpx.Client(base_url=url, timeout=20) as http:
        assert http.get("/metrics").status_code == (200 if public else 401)
        key = {"authorization": "Bearer secret"}
        assert http.get("/metrics", headers=key).status_code == 200
        assert http.post("/models/load", json={"model": "fake"}).status_code == 401


MODEL = 'id = "{id}"\nkind = "fake"\ncontext = {context}\n'


def write(folder: Path, name: str, context: int = 100) -> None:
    (folder / "models" / f"{name}.toml").write_text(MODEL.format(id=name, context=context))


def context_of(http: httpx.Client, model: str) -> int:
    answer = http.post("/tokenize", json={"model": model, "prompt": "a"})
    return answer.json()["max_model_len"]


def test_the_catalog_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    for name in ("models", "ensembles"):
        (tmp_path / name).mkdir()
    for name in ("kept", "gone", "changed"):
        write(tmp_path, name)
    config = tmp_path / "gateway.toml"
    config.write_text('[retrieval]\nembedder = "kept"\n')
    with (
        serve(load_configuration(config)) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        wait_ready(http)
        (tmp_path / "models" / "gone.toml").unlink()
        write(tmp_path, "new")
        write(tmp_path, "changed", 200)
        broken = tmp_path / "models" / "broken.toml"
        broken.write_text('id = "broken"\nknid = "fake"\n')
        refused = http.post("/models/reload")
        assert refused.status_code == 400
        assert "broken.toml" in refused.json()["error"]["message"]
        assert "knid" in refused.json()["error"]["message"]
        assert context_of(http, "gone") == 100  # nothing was changed
        assert context_of(http, "changed") == 100
        broken.unlink()
        done = http.post("/models/reload")
        assert done.json() == {"added": ["new"], "removed": ["gone"], "changed": ["changed"]}
        assert context_of(http, "new") == 100
        assert context_of(http, "changed") == 200
        assert http.post("/tokenize", json={"model": "gone", "prompt": "a"}).status_code == 404


class HeldEngine(FakeEngine):
    """Answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.let = threading.Event()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        self.began.set()
        await asyncio.to_thread(self.let.wait, 30)
        async for delta in super().generate(request):
            yield delta


def test_a_request_inside_outlives_an_unload(tmp_path: Path) -> None:
    engine = HeldEngine()
    with (
        serve(configuration(tmp_path), {"fake": engine}) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        wait_ready(http)
        answers: list[httpx.Response] = []
        body = {"model": "fake", "messages": HELLO}
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/v1/chat/completions", json=body))
        )
        asking.start()
        assert engine.began.wait(20)
        http.post("/models/unload", json={"model": "fake"})
        rows = http.get("/models").json()["data"]
        assert rows[0]["status"]["value"] == "loaded"  # not before its request is done
        engine.let.set()
        asking.join(20)
        assert answers[0].status_code == 200
        wait_until(lambda: http.get("/models").json()["data"][0]["status"]["value"] == "unloaded")
