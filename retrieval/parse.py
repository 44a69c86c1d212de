"""From a file to its text and where its pages begin, without trusting the file.

Files are read in processes of their own (`parser_pool`), limited in time, memory and output; what
formats there are, `retrieval.formats.kind` says.
"""

import asyncio
import atexit
import re
from functools import cache
from pathlib import Path, PurePosixPath

from retrieval.document import Document
from retrieval.errors import FileRejected
from retrieval.parser_pool import ParserPool

__all__ = ["Document", "clean_filename", "parse", "prepare"]

_LONGEST_NAME = 255  # bytes; what file systems take
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


async def parse(data: bytes | Path, name: str) -> Document:
    """Reads a file, given as its bytes or by its path, by its content first and then its name.

    Raises FileRejected with the file's name and the reason, and RetrievalError when no parser
    process can be had. Cancelled, it leaves the parser to finish, which is bounded.
    """
    try:
        return await asyncio.wrap_future(_pool().submit(data, name))
    except FileRejected as rejected:
        message = f"{name}: {rejected}"
        raise FileRejected(message, unsupported=rejected.unsupported) from None


def prepare() -> None:
    """Starts a parser process, so that the first file need not wait for it. Returns at once."""
    _pool().prepare()


def clean_filename(name: str) -> str:
    """The base name of `name`, fit to be stored and shown: no path, no control characters.

    Raises FileRejected when nothing is left of it.
    """
    base = _CONTROL.sub("", re.split(r"[/\\]", name)[-1]).strip()
    if len(base.encode()) > _LONGEST_NAME:  # cut before the extension, which says the type
        suffix = PurePosixPath(base).suffix[-16:]
        room = _LONGEST_NAME - len(suffix.encode())
        base = base.encode()[:room].decode("utf-8", "ignore") + suffix
    if base in ("", ".", ".."):
        raise FileRejected(f"{name!r} is not usable as a file name")
    return base


@cache
def _pool() -> ParserPool:
    """One for the whole program: how many files are read at once is a matter of the machine."""
    pool = ParserPool()
    atexit.register(pool.close)
    return pool
