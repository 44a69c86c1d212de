"""The contents of files on disk, each once, by their SHA-256."""

import hashlib
import os
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Blobs", "Incoming"]


class Incoming:
    """Content on its way in: a temporary file, removed at the end of `with` unless adopted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # A cancelled task lets its thread write on: not into what is another's file by then.
        self._lock = threading.Lock()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Appends. Raises OSError, when the disk is full for one."""
        rest = memoryview(piece)
        with self._lock:
            self._sha256.update(rest)
            self._md5.update(rest)
            self.bytes += len(rest)
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def append(self, path: Path) -> None:
        """Appends another file's content."""
        with path.open("rb") as source:
            while piece := source.read(1 << 20):
                self.write(piece)

    def sync(self) -> None:
        """Returns when the content would survive a power cut."""
        with self._lock:
            os.fsync(self._file)

    def moved_to(self, target: Path) -> None:
        """Called by `Blobs.adopt`."""
        self._path.rename(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            os.close(self._file)
            self._file = -1
        self._path.unlink(missing_ok=True)


class Blobs:
    """A folder of contents. The database says which are wanted; this does what it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)

    def incoming(self) -> Incoming:
        """A new temporary file on the same file system."""
        return Incoming(self._incoming / secrets.token_hex(16))

    def path(self, sha256: str) -> Path:
        """Where the content is, if it is there."""
        return self._folder / sha256[:2] / sha256

    def adopt(self, incoming: Incoming) -> None:
        """Keeps content that has been synced. In the same exclusive block, a row must name it."""
        target = self.path(incoming.sha256)
        if target.exists():
            return
        if not target.parent.exists():
            target.parent.mkdir(mode=0o700)
            _sync_folder(self._folder)
        incoming.moved_to(target)
        _sync_folder(target.parent)

    def discard(self, sha256: str) -> None:
        """Removes content that no row names."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self, wanted: Iterable[str]) -> None:
        """Removes what a killed process left: all not wanted. Nobody may write meanwhile."""
        keep = set(wanted)
        for left in self._incoming.iterdir():
            left.unlink()
        for folder in self._folder.iterdir():
            if len(folder.name) == 2:
                for content in folder.iterdir():
                    if content.name not in keep:
                        content.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
