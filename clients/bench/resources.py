"""What a gateway costs while nobody asks: seconds to readiness, memory, idle processor time.

Read from Linux's /proc, so that measuring needs no further package.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from clients.api import ClientError
from clients.bench.http import Endpoint, exchange

__all__ = ["Figures", "Reading", "idle", "read", "read_tree", "startup"]

READY_S = 300.0
STOP_S = 30.0
POLL_S = 0.05
SETTLE_S = 2.0  # after readiness, before idleness is measured
MIB = 1024  # of /proc's kB
TICKS = os.sysconf("SC_CLK_TCK")
Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class Reading:
    """A process now: resident memory and its highest value in MiB, seconds of processor time."""

    pid: int
    parent: int
    rss: float
    peak: float
    cpu: float


def read(pid: int) -> Reading:
    """Read a process. Raises ClientError where it is gone or there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError as error:
        where = "" if Path("/proc/self").exists() else " (this needs Linux's /proc)"
        raise ClientError(f"Cannot read process {pid}: {error.strerror}{where}.") from error
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    # The name, in parentheses, may itself hold spaces; the numbers begin after it.
    numbers = stat.rpartition(")")[2].split()
    return Reading(
        pid=pid,
        parent=int(numbers[1]),
        rss=_kilobytes(fields, "VmRSS") / MIB,
        peak=_kilobytes(fields, "VmHWM") / MIB,
        cpu=(int(numbers[11]) + int(numbers[12])) / TICKS,
    )


def read_tree(pid: int) -> list[Reading]:
    """A process, then all that descend from it."""
    readings: dict[int, Reading] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                readings[int(entry.name)] = read(int(entry.name))
            except ClientError:
                continue  # it ended meanwhile
    found = [read(pid)]
    for parent in found:  # grows while it is walked
        found += [reading for reading in readings.values() if reading.parent == parent.pid]
    return found


async def idle(pid: int, seconds: float) -> Figures:
    """Memory, and processor time over some seconds, of a process and of its descendants."""
    before = {reading.pid: reading.cpu for reading in read_tree(pid)}
    await asyncio.sleep(seconds)
    root, *others = read_tree(pid)
    return {
        "gateway_mib": round(root.rss, 1),
        "gateway_peak_mib": round(root.peak, 1),
        "workers": len(others),
        "workers_mib": round(sum(other.rss for other in others), 1),
        "idle_seconds": seconds,
        "gateway_idle_cpu_s": round(root.cpu - before[root.pid], 2),
        "workers_idle_cpu_s": round(
            sum(other.cpu - before.get(other.pid, 0.0) for other in others), 2
        ),
    }


async def startup(seconds: float) -> Figures:
    """Start `jurat serve` twice on a data folder of its own; the first start fills the store."""
    with tempfile.TemporaryDirectory(prefix="jurat-bench-") as folder:
        figures: Figures = {}
        for name in ("first_start_s", "start_s"):
            began = time.monotonic()
            process, url = _serve(Path(folder))
            try:
                await _ready(process, url, Path(folder))
                figures[name] = round(time.monotonic() - began, 2)
                if name == "start_s":
                    await asyncio.sleep(SETTLE_S)
                    figures |= await idle(process.pid, seconds)
            finally:
                stopping = time.monotonic()
                _stop(process)
                figures["stop_s"] = round(time.monotonic() - stopping, 2)
        return figures


def _serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1"]
    environment = {**os.environ, "JURAT_DATA_DIR": str(folder / "state")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--port", str(port)], stdout=log, stderr=log, env=environment
        )
    return process, f"http://127.0.0.1:{port}"


async def _ready(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    endpoint = Endpoint("the gateway", url)
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = (folder / "log").read_text(errors="replace").strip().splitlines()
            raise ClientError(f"`jurat serve` ended: {lines[-1] if lines else 'no output'}")
        try:
            async with exchange(endpoint, "GET", "/ready") as response:
                if response.status == 200:
                    return
        except ClientError:
            pass  # not listening yet
        await asyncio.sleep(POLL_S)
    raise ClientError(f"The gateway was not ready within {READY_S:.0f} s.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kilobytes(fields: dict[str, str], name: str) -> int:
    return int(fields.get(name, "0 kB").split()[0])  # a zombie has no memory
