"""One process at a time writes a data directory."""

import fcntl
import os
from pathlib import Path

from retrieval.errors import StoreLocked

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """Held from construction to `release`, or to the end of the process, however it ends.

    Raises StoreLocked when another process (or another object in this one) holds it.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreLocked(
                f"{directory} is in use by another process"
                + (f" (process id {holder})" if holder else "")
                + "; stop it, send the request to its gateway, or choose another data directory"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Lets others in. The file stays: removing it would race with who opens it now."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
