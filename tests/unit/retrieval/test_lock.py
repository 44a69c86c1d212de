"""Who may write a data directory when its last writer was killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import lock
from retrieval.errors import StoreLocked
from retrieval.lock import DirectoryLock

# Ends at once; a process that it forked has its lock until standard input closes.
SCRIPT = """
import os, pathlib, sys
from retrieval.lock import DirectoryLock
held = DirectoryLock(pathlib.Path(sys.argv[1]))
if os.fork():
    os._exit(0)
print("forked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def left(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A writer that is gone, while its lock is not."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        process.wait()
        yield process


def test_what_a_killed_writer_left_is_waited_for(
    left: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert left.stdin is not None
        assert left.stdout is not None
        left.stdin.close()
        left.stdout.read()  # until the forked one has ended

    monkeypatch.setattr(lock.time, "sleep", sleep)
    DirectoryLock(tmp_path).release()
    assert waits
    assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_but_not_for_long(
    left: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    with pytest.raises(StoreLocked, match=f"process id {left.pid}"):
        DirectoryLock(tmp_path)


def test_one_that_runs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        pytest.fail("it waits")

    monkeypatch.setattr(lock.time, "sleep", sleep)
    held = DirectoryLock(tmp_path)
    with pytest.raises(StoreLocked, match="in use"):
        DirectoryLock(tmp_path)
    held.release()
