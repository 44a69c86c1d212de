"""Starts the real `jurat` command as a process of its own, as a user would."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

JURAT = Path(sys.executable).with_name("jurat")
Found = TypeVar("Found")
READY_WITHIN_S = 120.0  # generous: how fast it is stands in docs/benchmarks.md


def folder_of(worker: psutil.Process) -> Path:
    """Where a worker's socket is: its last argument is the socket's address."""
    return Path(worker.cmdline()[-1].removeprefix("ipc://")).parent


def mapped(worker: psutil.Process) -> list[str]:
    """The files that a worker has mapped; none once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [entry.path for entry in worker.memory_maps()]
    return []


def refusal(data_dir: Path, *arguments: str) -> str:
    """What `jurat serve` says where it must not start: an error for its user, no trace."""
    found = subprocess.run(
        [JURAT, "serve", *arguments],
        env=own_environment(data_dir),
        cwd=data_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1, found.stdout
    assert "Traceback" not in found.stderr, found.stderr
    return found.stderr


def own_environment(data_dir: Path) -> dict[str, str]:
    """This process's, without settings of a gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JURAT_")}
    return kept | {"JURAT_DATA_DIR": str(data_dir)}


@dataclass
class Gateway:
    url: str
    process: psutil.Popen
    log: Path

    def get(self, path: str) -> Any:
        """JSON of a GET that must succeed."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def children(self) -> list[psutil.Process]:
        """Workers, and what reads documents."""
        return self.process.children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """One a model that is loaded."""
        return [child for child in self.children() if "models.worker.main" in _command(child)]

    def worker_of(self, file_suffix: str) -> psutil.Process:
        """The worker that has such a file mapped."""
        for worker in self.workers():
            if any(path.endswith(file_suffix) for path in mapped(worker)):
                return worker
        raise AssertionError(f"no worker maps a {file_suffix} file")

    def loading_worker(self) -> psutil.Process | None:
        """A worker that has llama.cpp and not yet a model, if there is one."""
        for worker in self.workers():
            paths = mapped(worker)
            loaded = any(path.endswith(".gguf") for path in paths)
            if not loaded and any("libllama" in path for path in paths):
                return worker
        return None

    def wait_ready(self) -> None:
        """Until /ready is 200. Fails with the log if the process ends or the time is up."""

        def ready() -> bool:
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                self.get("/ready")
                return True
            return False

        self.wait_for(ready, "/ready")

    def wait_model(self, model: str, state: str) -> dict[str, Any]:
        """Until /health says that a model is in this state; what it says then."""

        def reached() -> dict[str, Any] | None:
            found = self.get("/health")["models"][model]
            return found if found["state"] == state else None

        return self.wait_for(reached, f"{model} {state}")

    def wait_for(self, look: Callable[[], Found | None], what: str) -> Found:
        """What `look` finds. Fails with the log if the process ends or the time is up."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := look():
                return found
            time.sleep(0.05)  # other processes' states have no event to wait for but asking
        raise AssertionError(f"not to be had: {what}\n{self.log.read_text()[-4000:]}")


@contextlib.contextmanager
def serve(
    data_dir: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Gateway]:
    """`jurat serve` on a free port; whatever happens, nothing of it is left afterwards."""
    log = data_dir / "serve.log"
    env = own_environment(data_dir) | dict(environment or {})
    command = [*prefix, str(JURAT), "serve", *(arguments or ("--port", "0"))]
    with log.open("wb") as sink:
        process = psutil.Popen(
            command, stdout=subprocess.PIPE, stderr=sink, env=env, cwd=cwd or data_dir
        )
    children: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"http://\S+:(\d+)", line)
        assert found, f"no address in {line!r}:\n{log.read_text()[-4000:]}"
        yield Gateway(f"http://127.0.0.1:{found[1]}", process, log)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = process.children(recursive=True)
            process.send_signal(signal.SIGINT)
        psutil.wait_procs([process, *children], timeout=20)
        for leftover in (process, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                leftover.kill()
        process.stdout.close()
        process.wait(10)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
