"""`make test-open-webui`: chats in a real Open WebUI, set up as compose.yaml sets it up.

Not a test_*.py: Open WebUI is an installation of its own, in .venv-open-webui.
"""

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.serve import listen
from tests.e2e import serving

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / ".venv-open-webui/bin/open-webui"
KEY = "a-key-of-open-webui"
QUESTION = "How long must I hold the reset button of an R200 router?"
pytestmark = pytest.mark.timeout(1800)


def wait_until(reached: Callable[[], bool]) -> None:
    """Until something is so. Open WebUI has no event to wait for, and answers slowly."""
    deadline = time.monotonic() + 600
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Gateway]:
    keys = {"JURAT_API_KEYS": f"open-webui:{KEY}"}
    with serving.serve(tmp_path_factory.mktemp("gateway"), environment=keys) as served:
        served.wait_ready()
        yield served


def settings(gateway_url: str) -> dict[str, str]:
    """The variables of compose.yaml, for a gateway on this machine, and no accounts."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    found = services["open-webui"]["environment"]
    found = {name: re.sub(r"\$\{[^}]*\}", KEY, value) for name, value in found.items()}
    return found | {
        "OPENAI_API_BASE_URL": f"{gateway_url}/v1",
        "WEBUI_AUTH": "false",
        "OFFLINE_MODE": "true",
        "ENABLE_VERSION_UPDATE_CHECK": "false",
    }


@pytest.fixture(scope="module")
def front_end(
    gateway: serving.Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Signed in to Open WebUI."""
    folder = tmp_path_factory.mktemp("open-webui")
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    own = {"DATA_DIR": str(folder), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | settings(gateway.url) | own,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
            deadline = time.monotonic() + 900
            while not _is_up(http):
                log_text = (folder / "log").read_text()
                assert process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(1)
            empty = {"email": "", "password": ""}
            token = http.post("/api/v1/auths/signin", json=empty).json()["token"]
            http.headers["Authorization"] = f"Bearer {token}"
            yield http
    finally:
        process.terminate()
        process.wait(30)


def _is_up(http: httpx.Client) -> bool:
    try:
        return http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


class Chat:
    """A new chat with one question, as its page begins one; what became of it is read back."""

    def __init__(self, http: httpx.Client, model: str, question: str, **more: object) -> None:
        self._http = http
        self._answer = str(uuid.uuid4())
        asked = {"id": str(uuid.uuid4()), "parentId": None, "role": "user", "content": question}
        body = {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": question}],
            "parent_id": None,
            "user_message": asked,
            "message_ids": [{"model_id": model, "message_id": self._answer}],
            "session_id": str(uuid.uuid4()),
            **more,
        }
        begun = http.post("/api/chat/completions", json=body).raise_for_status().json()
        self._id, self._tasks = begun["chat_id"], begun["task_ids"]

    def read(self) -> dict[str, Any]:
        return self._http.get(f"/api/v1/chats/{self._id}").raise_for_status().json()

    def answer(self) -> dict[str, Any]:
        return self.read()["chat"]["history"]["messages"][self._answer]

    def finished(self) -> dict[str, Any]:
        """The answer, once it is whole."""
        wait_until(lambda: bool(self.answer().get("done")))
        found = self.answer()
        assert "error" not in found, found["error"]
        return found

    def stop(self) -> None:
        for task in self._tasks:
            self._http.post(f"/api/tasks/stop/{task}").raise_for_status()


def test_every_model_and_ensemble_is_listed(front_end: httpx.Client) -> None:
    listed = [model["id"] for model in front_end.get("/api/models").json()["data"]]
    assert listed[0] == "rag-ensemble"
    assert "smollm2-135m" in listed


def test_an_ensemble_s_answer_has_its_steps_and_its_sources(front_end: httpx.Client) -> None:
    found = Chat(front_end, "rag-ensemble", QUESTION).finished()
    assert re.search(r"\[\d\]", found["content"]), found["content"]
    assert {each["source"]["name"] for each in found["sources"]} >= {"routers.md"}
    steps = [each["description"] for each in found["statusHistory"]]
    assert any("passages" in step for step in steps), steps
    assert found["statusHistory"][-1]["done"]


def test_a_model_answers_and_the_chat_gets_a_title_without_a_search(
    front_end: httpx.Client,
) -> None:
    chat = Chat(
        front_end,
        "smollm2-135m",
        "Hello!",
        params={"max_tokens": 20},
        background_tasks={"title_generation": True},
    )
    found = chat.finished()
    assert found["content"]
    assert not found.get("sources")
    wait_until(lambda: chat.read()["title"] != "New Chat")


def test_its_own_tools_do_no_harm_to_an_ensemble(front_end: httpx.Client) -> None:
    given = front_end.get("/api/v1/configs/models").json()
    with_tools = given | {"DEFAULT_MODEL_METADATA": {}}
    front_end.post("/api/v1/configs/models", json=with_tools).raise_for_status()
    try:
        assert Chat(front_end, "rag-single", QUESTION).finished()["content"]
    finally:
        front_end.post("/api/v1/configs/models", json=given).raise_for_status()


def test_stopping_ends_the_work(front_end: httpx.Client, gateway: serving.Gateway) -> None:
    def running() -> int:
        return gateway.get("/health")["models"]["smollm2-135m"]["running"]

    chat = Chat(front_end, "smollm2-135m", "Count to ten thousand.", params={"max_tokens": 3000})
    wait_until(lambda: running() == 1)
    chat.stop()
    wait_until(lambda: running() == 0)
    assert chat.answer().get("usage") is None
