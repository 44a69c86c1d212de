"""The lock that workers compute under, between processes."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from models.worker.cores import CoreLock

# Says so when it has the cores, and gives them back when it is told to.
OTHER = """
import sys
from models.worker.cores import CoreLock
lock = CoreLock(sys.argv[1])
with lock:
    print("has them", flush=True)
    sys.stdin.readline()
"""


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def test_it_is_free_when_it_has_been_given_back_as_often_as_it_was_taken(tmp_path: Path) -> None:
    lock = CoreLock(str(tmp_path / "cores"))
    lock.acquire()
    with lock:
        assert not is_free(tmp_path / "cores")
    assert not is_free(tmp_path / "cores")
    assert not lock.wanted
    lock.release()
    assert is_free(tmp_path / "cores")


def test_who_waits_gets_the_cores_before_who_gives_them_back(tmp_path: Path) -> None:
    path = tmp_path / "cores"
    lock = CoreLock(str(path))
    lock.acquire()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", OTHER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        queue = tmp_path / "cores.next"
        while is_free(queue):  # until it waits
            assert other.poll() is None
        assert lock.wanted
        lock.release()
        # Whoever was at the head of the queue holds its place until it has the cores.
        assert other.stdout.readline() == "has them\n"
        assert not is_free(path)
        other.stdin.write("\n")
        other.stdin.flush()
        lock.acquire()
        lock.release()
    assert other.returncode == 0
