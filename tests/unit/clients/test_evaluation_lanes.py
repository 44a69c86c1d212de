"""`run --all` where a machine has several GPUs."""

import json
import os
import socket
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clients.evaluation import lanes
from clients.evaluation.gpus import Gpu
from clients.evaluation.main import main
from tests.unit.clients.conftest import Gateway

GPUS = [Gpu(index=n, uuid=f"GPU-{n}", name="Fake") for n in range(3)]


@pytest.fixture
def machine(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, str]]:
    """A machine with three GPUs and no gateway; what the private ones' environments were."""
    state = tmp_path / "state"
    (state / "hub").mkdir(parents=True)
    (state / "jurat.db").write_text("stores")
    started: list[dict[str, str]] = []

    @contextmanager
    def private(environment: Mapping[str, str] | None = None) -> Generator[str]:
        own = dict(environment or {})
        folder = Path(own.get("JURAT_DATA_DIR", state))
        assert (folder / "jurat.db").read_text() == "stores"
        assert (folder == state) is (own.get("CUDA_VISIBLE_DEVICES", "GPU-0") == "GPU-0")
        started.append(own)
        yield gateway.url

    monkeypatch.setattr(lanes, "running_gateway", lambda url: None)
    monkeypatch.setattr(lanes, "private_gateway", private)
    monkeypatch.setattr(lanes, "list_gpus", lambda: list(GPUS))
    monkeypatch.setattr(lanes, "_data_folder", lambda: state)
    return started


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.toml").write_text('model = "m"\nquestions = "q.csv"\n')
    (folder / "missing.toml").write_text('model = "away"\nquestions = "q.csv"\n')
    (folder / "broken.toml").write_text('modle = "m"\n')
    (folder / "far.toml").write_text('model = "m"\nquestions = "q.csv"\nprovider = "upstream"\n')
    return folder


def ran(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any]]:
    status = main(["run", "--all", "--json", *map(str, argv)])
    return status, json.loads(capsys.readouterr().out)["experiments"]


def test_each_gpu_has_a_gateway_and_experiments_run_side_by_side(
    machine: list[dict[str, str]],
    configs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    together = threading.Barrier(3, timeout=30)
    seen: dict[str, str] = {}

    def run(options: Any, path: Path, url: str, environment: Mapping[str, str]) -> dict[str, Any]:
        if path.stem in "abc":  # all three are inside at once
            together.wait()
        seen[path.stem] = environment["CUDA_VISIBLE_DEVICES"]
        return {"passed": True, "why": "", "seconds": 0.0}

    monkeypatch.setattr(lanes, "_in_a_process", run)
    status, found = ran(capsys, "--configs", configs)
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in machine) == ["GPU-0", "GPU-1", "GPU-2"]
    assert sorted(seen[name] for name in "abc") == ["GPU-0", "GPU-1", "GPU-2"]
    assert status == 1
    assert list(found) == ["a", "b", "broken", "c", "d", "far", "missing"]
    assert "modle" in found["broken"]["why"]
    assert found["missing"]["passed"] is None
    assert "--one-gateway" in found["missing"]["why"]
    machine.clear()
    assert "far" not in ran(capsys, "--configs", configs, "--provider", "local")[1]
    assert list(ran(capsys, "--configs", configs, "--model", "away")[1]) == ["broken", "missing"]


def test_one_gateway_that_has_all_gpus(
    machine: list[dict[str, str]],
    configs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    passed = {"passed": True, "why": "", "seconds": 0.0}
    monkeypatch.setattr(lanes, "_in_a_process", lambda *_: passed)
    (configs / "broken.toml").unlink()
    assert ran(capsys, "--configs", configs, "--one-gateway")[0] == 0
    assert machine == [{}]


def test_an_experiment_that_takes_too_long_is_ended(
    gateway: Gateway, configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (configs / "a.toml").write_text('model = "m"\nquestions = "nowhere.csv"\n')
    argv = ["--url", gateway.url, "--configs", configs, "--model", "m", "--provider", "local"]
    for name in ("b", "c", "d", "far", "broken", "missing"):
        (configs / f"{name}.toml").unlink()
    status, found = ran(capsys, *argv, "--limit", "0.01")
    assert status == 1
    assert "not done within 0.01 s" in found["a"]["why"]


def test_an_endpoint_that_hangs_before_the_first_question_is_named(
    configs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lanes, "LISTING_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes a request, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        status, found = ran(capsys, "--url", url, "--configs", configs, "--model", "m")
    assert status == 1
    assert "did not answer in time" in found["a"]["why"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--all", "--top-k", "3"], "--top-k is of one run"),
        (["--smoke", "m", "--model", "m"], "--model is of one run"),
        (["--all", "--limit", "0"], "--limit must be"),
    ],
)
def test_options_without_effect_are_refused(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *argv]) == 1
    assert told in capsys.readouterr().err


def test_the_data_folder_is_the_one_a_gateway_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "some where"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.delenv("JURAT_CONFIG", raising=False)
    assert lanes._data_folder() == tmp_path / "some where"
