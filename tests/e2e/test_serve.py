"""The embedded default as a newcomer meets it: real process, real models, the real SDK."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest

from tests.e2e.serving import JURAT, Gateway, folder_of, serve

ROOT = Path(__file__).parents[2]
RESET = "How long must I hold the reset button of an R200 router?"
UNKNOWN = "Who painted the ceiling of the Sistine Chapel?"
ENDS_WITHIN_S = 10


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serve(tmp_path_factory.mktemp("data")) as found:
        found.wait_ready()
        yield found


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_a_voted_and_cited_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="rag-ensemble", messages=[{"role": "user", "content": RESET}]
    )
    message = completion.choices[0].message
    report = completion.ensemble  # type: ignore[attr-defined]
    assert message.content is not None
    assert "12 seconds" in message.content
    assert "[" in message.content
    assert len(report["votes"]) == 3
    assert not report["is_blank"]
    assert report["ref_id"] == ["routers"]
    assert message.annotations
    citation = message.annotations[0].url_citation
    assert citation.title.startswith("routers.md")
    assert message.content[citation.start_index : citation.end_index].startswith("[")
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0


def test_the_same_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="rag-ensemble",
        messages=[{"role": "user", "content": RESET}],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, thoughts, reports, usages = "", "", [], []
    for chunk in stream:
        usages += [chunk.usage] if chunk.usage else []
        reports += [found] if (found := getattr(chunk, "ensemble", None)) else []
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thoughts += getattr(choice.delta, "reasoning_content", None) or ""
    assert "12 seconds" in text
    assert thoughts
    assert len(reports) == 1
    assert len(reports[0]["votes"]) == 3
    assert len(usages) == 1


def test_what_the_handbook_does_not_say_is_declined(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="rag-ensemble", messages=[{"role": "user", "content": UNKNOWN}]
    )
    assert completion.ensemble["is_blank"]  # type: ignore[attr-defined]
    assert completion.ensemble["ref_id"] == []  # type: ignore[attr-defined]
    assert not completion.choices[0].message.annotations


def test_voters_share_the_prompt(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="rag-ensemble",
        messages=[{"role": "user", "content": "What does a steady red status light mean?"}],
    )
    assert completion.usage is not None
    details = completion.usage.prompt_tokens_details
    assert details is not None
    assert details.cached_tokens is not None
    # Two of three voters find nearly the whole prompt in the cache.
    assert details.cached_tokens > completion.usage.prompt_tokens / 2


def test_a_worker_killed_mid_stream(gateway: Gateway, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Write a very long story about the sea."}],
        max_tokens=2000,
        stream=True,
    )
    chunks = iter(stream)
    next(chunks)
    gateway.worker_of(".gguf").kill()
    with pytest.raises(openai.APIError, match="smollm2-135m"):
        for _ in chunks:
            pass
    again = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": "Say hi."}], max_tokens=4
    )
    assert again.usage is not None
    assert again.usage.completion_tokens > 0


def test_embeddings_of_the_real_embedder(client: openai.OpenAI) -> None:
    texts = ["a router", "a wireless router", "roast the onions"]
    found = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    router, wireless, onions = (item.embedding for item in found.data)
    assert len(router) == 384

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(router, wireless) > cosine(router, onions) + 0.2


def test_the_sample_documents_are_taken_in_once(gateway: Gateway, tmp_path: Path) -> None:
    assert gateway.get("/health")["stores"]["handbook"]["state"] == "ready"
    with serve(tmp_path) as first:
        first.wait_ready()
    database = sorted(tmp_path.rglob("*.sqlite3"))[0]
    before = database.stat().st_mtime_ns
    with serve(tmp_path) as second:
        second.wait_ready()
        assert database.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process(tmp_path: Path, name: signal.Signals) -> None:
    with serve(tmp_path) as gateway:
        gateway.wait_ready()
        workers = gateway.workers()
        assert len(workers) == 2
        folder = folder_of(workers[0])
        assert folder.is_dir()
        gateway.process.send_signal(name)
        _, alive = psutil.wait_procs([gateway.process, *workers], timeout=ENDS_WITHIN_S)
        assert not alive
        assert gateway.process.returncode == 0
        assert not folder.exists()


def test_a_port_in_use(gateway: Gateway, tmp_path: Path) -> None:
    port = gateway.url.rpartition(":")[2]
    found = subprocess.run(
        [JURAT, "serve", "--port", port],
        env={**os.environ, "JURAT_DATA_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1
    assert port in found.stderr
    assert "Traceback" not in found.stderr


def test_the_containers_command_as_an_unprivileged_user(tmp_path: Path) -> None:
    """The entry command of the Containerfile, in an empty folder, writing only to the volume."""
    containerfile = (ROOT / "Containerfile").read_text().splitlines()
    entry = [
        json.loads(line.partition(" ")[2])
        for name in ("ENTRYPOINT", "CMD")
        for line in containerfile
        if line.startswith(f"{name} ")
    ]
    assert entry[0] == ["jurat"]
    arguments = entry[1][1:]
    arguments[arguments.index("--port") + 1] = "0"  # 8000 may be taken on this machine
    volume, empty = tmp_path / "volume", tmp_path / "empty"
    volume.mkdir()
    empty.mkdir(mode=0o755)
    prefix: list[str] = []
    if os.geteuid() == 0:
        # The interpreter may stand where only root can look, so reading stays allowed; writing not.
        prefix = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups"]
        prefix += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
        prefix += ["--bounding-set=-all,+dac_read_search"]
        os.chown(volume, 10001, 10001)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o001:
                break
            folder.chmod(folder.stat().st_mode | 0o011)
    environment = {"JURAT_API_KEYS": "someone:secret", "PYTHONDONTWRITEBYTECODE": "1"}
    with serve(volume, *arguments, prefix=prefix, environment=environment, cwd=empty) as gateway:
        gateway.wait_ready()
        assert gateway.get("/health")["status"] == "ok"
        right = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="secret", max_retries=0)
        with right, right.with_options(api_key="wrong") as wrong:
            assert "rag-ensemble" in [model.id for model in right.models.list()]
            with pytest.raises(openai.AuthenticationError):
                wrong.models.list()
    assert list(empty.iterdir()) == []


def test_beyond_loopback_without_a_key_is_refused(tmp_path: Path) -> None:
    found = subprocess.run(
        [JURAT, "serve", "--host", "0.0.0.0", "--port", "0"],
        env={**os.environ, "JURAT_DATA_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1
    assert "JURAT_API_KEYS" in found.stderr


def test_the_gateway_process_stays_small(gateway: Gateway) -> None:
    loaded = {Path(entry.path).name for entry in gateway.process.memory_maps()}
    assert not any(name.startswith(("libtorch", "libllama")) for name in loaded)
    assert gateway.process.memory_info().rss < 250e6


def test_python_of_this_run_is_the_one_that_serves() -> None:
    assert JURAT.exists(), f"{JURAT} is missing: install the project into {sys.prefix}"
