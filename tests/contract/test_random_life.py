"""A thousand random steps with worker processes that have no model leave nothing behind."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from models.engines import local
from models.fit import Fit
from models.footprint import Footprint
from models.memory import Estimate, Part, Placement
from models.registry import Registry, ResidencyLimits
from models.settings import ModelSettings
from models.worker.process import WorkerProcess
from tests.random_life import Life, children, leftovers

STEPS = 1000
PLACED = Fit(
    placement=Placement(context=128, kv_tokens=128, parallel=1),
    estimate=Estimate(host=Part(weights=10)),
    reason="",
    whole=False,
)


async def _spawn(self: WorkerProcess, address: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fake_worker",
        address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(WorkerProcess, "_spawn", _spawn)
    monkeypatch.setattr(local, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(local, "check_headers", lambda _: None)  # the files are empty
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def models(folder: Path) -> dict[str, ModelSettings]:
    found: dict[str, ModelSettings] = {}
    for name in ("one", "two", "three", "bad"):
        path = folder.parent / f"{name}.gguf"
        path.touch()
        idle_s = 0.05 if name == "three" else None
        found[name] = ModelSettings(
            id=name, kind="chat", source=f"file:{path}", idle_timeout_s=idle_s
        )
    return found


async def test_nothing_is_left_behind(folder: Path, tmp_path: Path) -> None:
    before, descriptors = children(), psutil.Process().num_fds()
    catalog = models(folder)
    registry = Registry(
        catalog,
        tmp_path / "state",
        limits=ResidencyLimits(budget=Footprint(host=20), min_residency_s=0.2),
        place=lambda _: PLACED,
    )
    await registry.start()
    life = Life(registry, catalog, seed=4, crash=True)
    await life.run(STEPS)
    assert life.answered > STEPS / 3
    assert life.refused > 0
    await registry.stop(5)
    assert leftovers(folder, before) == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    # A socket or a pipe of each load would be hundreds.
    assert psutil.Process().num_fds() <= descriptors + 16


async def test_a_stop_in_the_middle_of_a_restart_leaves_no_socket(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawning: list[WorkerProcess] = []
    begun = asyncio.Event()

    async def never(self: WorkerProcess, address: str) -> asyncio.subprocess.Process:
        spawning.append(self)
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    registry = Registry({"one": models(folder)["one"]}, tmp_path / "state", place=lambda _: PLACED)
    await registry.start()
    await registry.load("one")
    monkeypatch.setattr(WorkerProcess, "_spawn", never)
    pid = registry.stats()["one"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await begun.wait()
    await registry.stop(5)
    (worker,) = spawning
    assert worker._socket is not None  # pyright: ignore[reportPrivateUsage]
    assert worker._socket.closed  # pyright: ignore[reportPrivateUsage]
