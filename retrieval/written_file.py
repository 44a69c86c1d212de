"""Files that are written once: whether one still is as it was written."""

import zlib
from pathlib import Path

from msgspec import Struct

from retrieval.durable import replace_durably
from retrieval.errors import IndexDamaged

__all__ = ["WrittenFile", "check", "finish"]

_BLOCK_BYTES = 16 * 1024 * 1024


class WrittenFile(Struct, frozen=True, kw_only=True):
    """What a file was when it was written."""

    name: str
    bytes: int
    written_ns: int  # its time of writing: while it is that, the file is not read to check
    checksum: int


def finish(draft: Path, path: Path) -> WrittenFile:
    """Puts a finished `draft`, in the same directory, in its place, durably."""
    found = _checksum(draft)
    replace_durably(draft, path)
    stat = path.stat()
    return WrittenFile(
        name=path.name, bytes=stat.st_size, written_ns=stat.st_mtime_ns, checksum=found
    )


def check(directory: Path, written: WrittenFile, *, thoroughly: bool = False) -> Path:
    """The file's path, if it is as it was written. Raises IndexDamaged."""
    file = directory / written.name
    try:
        stat = file.stat()
        same = stat.st_mtime_ns == written.written_ns and not thoroughly
        if stat.st_size == written.bytes and (same or _checksum(file) == written.checksum):
            return file
    except OSError as error:
        raise IndexDamaged(f"{file}: {error.strerror}") from error
    raise IndexDamaged(f"{file} is not as it was written")


def _checksum(path: Path) -> int:
    """CRC-32."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return value
