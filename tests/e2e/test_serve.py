"""The embedded default as a newcomer meets it: real process, real models, the real SDK."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import openai
import psutil
import pytest

from tests.e2e.serving import JURAT, Gateway, folder_of, refusal, serve

ROOT = Path(__file__).parents[2]
RESET = "How long must I hold the reset button of an R200 router?"
UNKNOWN = "Who painted the ceiling of the Sistine Chapel?"
ENDS_WITHIN_S = 10


class Ended(NamedTuple):
    """What a signal left of a gateway that was ready."""

    workers: int
    alive: list[psutil.Process]
    status: int | None
    folder: bool


def ended(gateway: Gateway, name: signal.Signals) -> Ended:
    workers, children = gateway.workers(), gateway.children()
    folder = folder_of(workers[0])
    assert folder.is_dir()
    gateway.process.send_signal(name)
    _, alive = psutil.wait_procs([gateway.process, *children], timeout=ENDS_WITHIN_S)
    return Ended(len(workers), alive, gateway.process.returncode, folder.exists())


class FirstRun(NamedTuple):
    """A start in an empty folder, which took in the sample documents; Ctrl-C ended it."""

    data: Path
    stores: dict[str, dict[str, str]]
    database_ns: int
    ended: Ended


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    data = tmp_path_factory.mktemp("data")
    with serve(data) as gateway:
        gateway.wait_ready()
        stores = gateway.get("/health")["stores"]
        after = ended(gateway, signal.SIGINT)
    return FirstRun(data, stores, database_of(data).stat().st_mtime_ns, after)


@pytest.fixture(scope="module")
def gateway(first_run: FirstRun) -> Iterator[Gateway]:
    """The second run in that folder."""
    with serve(first_run.data) as found:
        found.wait_ready()
        yield found


def database_of(data: Path) -> Path:
    return sorted(data.rglob("*.sqlite3"))[0]


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


def test_the_sample_documents_are_taken_in_once(first_run: FirstRun, gateway: Gateway) -> None:
    for stores in (first_run.stores, gateway.get("/health")["stores"]):
        assert stores["handbook"]["state"] == "ready"
    assert database_of(first_run.data).stat().st_mtime_ns == first_run.database_ns


def test_ctrl_c_ends_every_process(first_run: FirstRun) -> None:
    assert first_run.ended == Ended(workers=2, alive=[], status=0, folder=False)


def test_a_port_in_use(gateway: Gateway, tmp_path: Path) -> None:
    port = gateway.url.rpartition(":")[2]
    assert port in refusal(tmp_path, "--port", port)


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
        # What the end of a container sends.
        assert ended(gateway, signal.SIGTERM) == Ended(2, [], 0, folder=False)
    assert list(empty.iterdir()) == []


def test_beyond_loopback_without_a_key_is_refused(tmp_path: Path) -> None:
    assert "JURAT_API_KEYS" in refusal(tmp_path, "--host", "0.0.0.0", "--port", "0")


def test_the_gateway_process_stays_small(gateway: Gateway) -> None:
    loaded = {Path(entry.path).name for entry in gateway.process.memory_maps()}
    assert not any(name.startswith(("libtorch", "libllama")) for name in loaded)
    assert gateway.process.memory_info().rss < 250e6


def test_python_of_this_run_is_the_one_that_serves() -> None:
    assert JURAT.exists(), f"{JURAT} is missing: install the project into {sys.prefix}"
