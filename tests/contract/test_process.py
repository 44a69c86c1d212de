"""`jurat serve` as a process: it says where it listens, stays small and idle, and ends on time."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

MEMORY_LIMIT = 250 * 2**20
HEAVY = ("torch", "llama_cpp", "transformers", "sentence_transformers")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("models", "ensembles", "docs"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "fake.toml").write_text('id = "fake"\nkind = "fake"\n')
    (tmp_path / "docs" / "a.txt").write_text("The lamp of the router is blue.\n")
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[retrieval]\nembedder = "fake"\n[server]\nport = 0\nshutdown_s = 120\n'
        '[[stores]]\nname = "docs"\npaths = ["docs"]\n'
    )
    return path


@pytest.fixture
def process(config: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JURAT_")}
    environment["JURAT_DATA_DIR"] = str(config.parent / "state")
    started = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    with started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if found := re.match(r"Jurat listens on (http://127\.0\.0\.1:\d+)$", line.strip()):
            return found[1]
    raise AssertionError("".join(seen))


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + 20
    while httpx.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < deadline, httpx.get(f"{url}/health").text
        time.sleep(0.05)


def test_it_fills_its_stores_and_stays_small_and_idle(process: subprocess.Popen[str]) -> None:
    url = address(process)
    wait_ready(url)
    assert httpx.get(f"{url}/health").json()["stores"]["docs"]["state"] == "ready"
    me = psutil.Process(process.pid)
    assert me.memory_info().rss < MEMORY_LIMIT
    mapped = " ".join(entry.path for entry in me.memory_maps())
    assert not any(f"/{name}/" in mapped for name in HEAVY)
    # The indexes follow what was filled half a second later; from then on nothing is to be done.
    assert min(busy(me, seconds=2) for _ in range(3)) <= 0.03


def busy(process: psutil.Process, seconds: float) -> float:
    """Processor time that it takes in an interval of so many seconds."""
    before = process.cpu_times()
    time.sleep(seconds)  # an interval to measure over, not a wait for something
    after = process.cpu_times()
    return (after.user + after.system) - (before.user + before.system)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(process: subprocess.Popen[str], number: signal.Signals) -> None:
    url = address(process)
    with httpx.Client(base_url=url) as client:  # a connection that is kept alive does not hold it
        assert client.get("/health").status_code == 200
        process.send_signal(number)
        assert process.wait(60) == 0
