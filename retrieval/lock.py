"""One process at a time writes a data directory."""

import fcntl
import os
import time
from pathlib import Path

from retrieval.errors import StoreLocked

__all__ = ["DirectoryLock"]

PATIENCE_S = 5.0
AGAIN_S = 0.05


class DirectoryLock:
    """Held from construction to `release`, or to the end of the process, however it ends.

    Raises StoreLocked when another process (or another object in this one) holds it. One that was
    killed is waited for: what it had just started may hold its lock for a moment longer.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + PATIENCE_S
        while not self._taken():
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            if _lives(holder) or time.monotonic() >= until:
                os.close(self._file)
                named = f" (process id {holder})" if holder else ""
                raise StoreLocked(
                    f"{directory} is in use by another process{named}; stop it, send the request "
                    "to its gateway, or choose another data directory",
                    holder,
                )
            time.sleep(AGAIN_S)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Lets others in. The file stays: removing it would race with who opens it now."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lives(process_id: str) -> bool:
    """Whether there is such a process; it may be another user's."""
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        pass
    return True
