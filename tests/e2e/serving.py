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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

JURAT = Path(sys.executable).with_name("jurat")
READY_WITHIN_S = 120.0  # generous: how fast it is stands in docs/benchmarks.md


@dataclass
class Gateway:
    url: str
    process: psutil.Popen
    log: Path

    def get(self, path: str) -> Any:
        """JSON of a GET that must succeed."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def workers(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)

    def worker_of(self, file_suffix: str) -> psutil.Process:
        """The worker that has such a file mapped."""
        for worker in self.workers():
            if any(entry.path.endswith(file_suffix) for entry in worker.memory_maps()):
                return worker
        raise AssertionError(f"no worker maps a {file_suffix} file")

    def wait_ready(self) -> None:
        """Until /ready is 200. Fails with the log if the process ends or the time is up."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                self.get("/ready")
                return
            time.sleep(0.1)  # readiness has no event to wait for but asking
        raise AssertionError(f"not ready:\n{self.log.read_text()[-4000:]}")


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
    env = {k: v for k, v in os.environ.items() if not k.startswith("JURAT_")}
    env |= {"JURAT_DATA_DIR": str(data_dir), **(environment or {})}
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
