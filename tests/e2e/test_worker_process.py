"""Workers that die, hang or find no model, and gateways that die: seen from outside, over HTTP."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from models.engines.local import CRASHES_ALLOWED
from tests.e2e import serving
from tests.e2e.serving import Gateway, folder_of, serve
from tests.real_models import MINILM, smollm2_path

ENDS_WITHIN_S = 10
MODEL = 'id = "{id}"\nkind = "{kind}"\nsource = "{source}"\nthreads = 1\n'
# One thread and a small context: what is asked here is little.
CHAT = MODEL + "context = 256\n"


def write_config(folder: Path, **sources: str) -> Path:
    """A gateway.toml that serves these models, by id, and has no documents."""
    for name in ("models", "ensembles"):
        (folder / name).mkdir()
    for name, source in sources.items():
        kind = "embedding" if source == MINILM.source else "chat"
        text = (CHAT if kind == "chat" else MODEL).format(id=name, kind=kind, source=source)
        (folder / "models" / f"{name}.toml").write_text(text)
    path = folder / "gateway.toml"
    path.write_text("[server]\nport = 0\n")
    return path


def copied(path: Path) -> str:
    """The source of a copy of SmolLM2: a file of its own, which its worker has mapped."""
    shutil.copyfile(smollm2_path(), path)
    return f"file:{path}"


def endless(path: Path) -> str:
    """The source of a model whose load never ends: llama.cpp waits for a writer of this pipe."""
    os.mkfifo(path)
    return f"file:{path}"


def say_hi(gateway: Gateway, model: str) -> str:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        found = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Say hi."}], max_tokens=4
        )
    assert found.usage is not None
    assert found.usage.completion_tokens > 0
    return found.choices[0].message.content or ""


def refusal(gateway: Gateway, model: str) -> str:
    """What a request for a model that is not there is told: a 503 with an error object."""
    with pytest.raises(openai.InternalServerError) as caught:
        say_hi(gateway, model)
    assert caught.value.status_code == 503
    assert caught.value.type == "server_error"
    assert caught.value.code == "model_unavailable"
    assert isinstance(caught.value.body, dict)
    return caught.value.body["message"]


def states(gateway: Gateway) -> dict[str, str]:
    return {model["id"]: model["state"] for model in gateway.get("/v1/models")["data"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serves `steady`, `fleeting`, whose file a test removes, and `cut`, of which half is there."""
    folder = tmp_path_factory.mktemp("workers")
    whole = smollm2_path()
    (folder / "cut.gguf").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    config = write_config(
        folder,
        cut="file:cut.gguf",  # relative to gateway.toml
        fleeting=copied(folder / "fleeting.gguf"),
        steady=copied(folder / "steady.gguf"),
    )
    with serve(folder, "--config", str(config)) as found:
        found.wait_model("steady", "ready")
        found.wait_model("fleeting", "ready")
        yield found


def test_a_truncated_model_is_named_and_the_others_serve(gateway: Gateway) -> None:
    found = gateway.wait_model("cut", "failed")
    for text in (found["detail"], refusal(gateway, "cut")):
        assert "'cut'" in text
        assert "cut.gguf" in text
    assert found["restarts"] == 0  # trying again would not make it whole
    assert states(gateway)["cut"] == "failed"
    assert gateway.get("/health")["status"] == "degraded"
    say_hi(gateway, "steady")


def test_a_worker_that_dies_once_is_replaced(gateway: Gateway) -> None:
    before = gateway.wait_model("steady", "ready")["restarts"]
    worker = gateway.worker_of("steady.gguf")
    worker.kill()
    gateway.wait_for(
        lambda: gateway.get("/health")["models"]["steady"]["restarts"] > before, "a restart"
    )
    assert gateway.wait_model("steady", "ready")["restarts"] == before + 1
    assert gateway.worker_of("steady.gguf").pid != worker.pid
    say_hi(gateway, "steady")


def test_a_model_whose_file_is_gone_is_named_and_the_others_serve(gateway: Gateway) -> None:
    gateway.wait_model("fleeting", "ready")
    worker = gateway.worker_of("fleeting.gguf")
    (gateway.log.parent / "fleeting.gguf").unlink()
    say_hi(gateway, "fleeting")  # it is loaded
    worker.kill()
    found = gateway.wait_model("fleeting", "failed")
    for text in (found["detail"], refusal(gateway, "fleeting")):
        assert "'fleeting'" in text
        assert "fleeting.gguf" in text
    assert found["restarts"] == 1
    say_hi(gateway, "steady")


def test_a_model_that_is_not_there_at_the_start_is_said_at_once(tmp_path: Path) -> None:
    config = write_config(tmp_path, here=MINILM.source, lost="file:nowhere/lost.gguf")
    said = serving.refusal(tmp_path, "--config", str(config))
    assert str(tmp_path / "nowhere" / "lost.gguf") in said


def test_a_worker_that_keeps_dying_is_given_up_and_the_others_serve(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        doomed=endless(tmp_path / "doomed.gguf"),
        steady=copied(tmp_path / "steady.gguf"),
    )
    with (
        ThreadPoolExecutor() as pool,
        serve(tmp_path, "--config", str(config)) as gateway,
    ):
        gateway.wait_model("steady", "ready")
        victim = gateway.wait_for(gateway.loading_worker, "a worker that is loading")
        others = {worker.pid for worker in gateway.workers()} - {victim.pid}
        waits = pool.submit(refusal, gateway, "doomed")
        victim.kill()  # as the kernel does where memory runs out
        for restarts in range(1, CRASHES_ALLOWED):
            gateway.wait_for(
                lambda count=restarts: (
                    gateway.get("/health")["models"]["doomed"]["restarts"] == count
                ),
                f"restart {restarts}",
            )
            victim = gateway.wait_for(
                lambda: next((w for w in gateway.workers() if w.pid not in others), None),
                "the next worker",
            )
            others.add(victim.pid)
            victim.kill()
            say_hi(gateway, "steady")
        found = gateway.wait_model("doomed", "failed")
        assert found["restarts"] == CRASHES_ALLOWED - 1
        # Whoever waited for it is told the same as whoever comes now.
        for text in (found["detail"], waits.result(), refusal(gateway, "doomed")):
            assert "'doomed'" in text
            assert f"{CRASHES_ALLOWED} times" in text
            assert "SIGKILL" in text
        assert states(gateway) == {"doomed": "failed", "steady": "ready"}
        assert gateway.get("/health")["status"] == "degraded"
        assert gateway.get("/health")["models"]["steady"]["restarts"] == 0
        say_hi(gateway, "steady")


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_model_loads_ends_every_process(
    tmp_path: Path, name: signal.Signals
) -> None:
    config = write_config(tmp_path, slow=endless(tmp_path / "slow.gguf"), embedder=MINILM.source)
    with serve(tmp_path, "--config", str(config)) as gateway:
        worker = gateway.wait_for(gateway.loading_worker, "a worker that is loading")
        workers = gateway.workers()
        assert len(workers) == 2
        folder = folder_of(worker)
        assert folder.is_dir()
        gateway.process.send_signal(name)
        _, alive = psutil.wait_procs([gateway.process, *workers], timeout=ENDS_WITHIN_S)
        assert not alive
        assert gateway.process.returncode == 0
        assert not folder.exists()


def test_a_signal_at_once_leaves_nothing(tmp_path: Path) -> None:
    """A worker may be on its way then: it is found by the folder that its command names."""
    config = write_config(tmp_path, slow=endless(tmp_path / "slow.gguf"), embedder=MINILM.source)
    with (
        tempfile.TemporaryDirectory() as temporary,
        serve(tmp_path, "--config", str(config), environment={"TMPDIR": temporary}) as gateway,
    ):
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(ENDS_WITHIN_S) == 0
        left = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(temporary in word for word in process.info["cmdline"] or ())
        ]
        _, alive = psutil.wait_procs(left, timeout=ENDS_WITHIN_S)
        for process in alive:
            kill(process)
        assert not alive
        assert list(Path(temporary).iterdir()) == []


def test_a_killed_gateway_takes_every_worker_with_it(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        busy=copied(tmp_path / "busy.gguf"),
        embedder=MINILM.source,
        slow=endless(tmp_path / "slow.gguf"),
    )
    with contextlib.ExitStack() as after, serve(tmp_path, "--config", str(config)) as gateway:
        gateway.wait_model("busy", "ready")
        gateway.wait_for(gateway.loading_worker, "a worker that is loading")
        workers = gateway.workers()
        assert len(workers) == 3
        folder = folder_of(workers[0])
        after.callback(shutil.rmtree, folder, ignore_errors=True)  # nobody is left to do it
        for worker in workers:
            after.callback(kill, worker)
        with (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
            client.chat.completions.create(
                model="busy",
                messages=[{"role": "user", "content": "Tell a very long story."}],
                stream=True,
            ) as stream,
        ):
            next(iter(stream))
            gateway.process.kill()
            _, alive = psutil.wait_procs([gateway.process, *workers], timeout=ENDS_WITHIN_S)
    assert not alive


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
