"""What a parser process is asked and answers: one length and one msgpack message each."""

import struct
from typing import IO

import msgspec

from retrieval.document import Markup

__all__ = [
    "OUT_OF_MEMORY",
    "Job",
    "Limits",
    "Outcome",
    "read_frame",
    "too_much_memory",
    "write_frame",
]

OUT_OF_MEMORY = 77  # exit status of a parser that the kernel does not hold to its memory

_LENGTH = struct.Struct(">Q")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one file may cost."""

    seconds: float = 30.0  # of a processor; the clock may show four times as many
    memory_bytes: int = 1536 * 1024 * 1024  # of address space, the interpreter's own included
    characters: int = 32 * 1024 * 1024  # of text
    files: int = 200  # after so many a process is replaced: libraries leak


class Job(msgspec.Struct, frozen=True, array_like=True):
    """A file to read; its bytes, or where they are, follow as a frame of their own."""

    name: str
    by_path: bool


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """`reason` is empty for a document that was read. `fault` is for the log."""

    reason: str = ""
    unsupported: bool = False  # the reason is that the format is not read at all
    fault: str = ""
    text: str = ""
    markup: Markup = "plain"
    page_starts: tuple[int, ...] = ()
    leaving: bool = False  # the process ends after this: its memory may be in pieces


def too_much_memory(limits: Limits) -> str:
    """The reason for a file that needs more than it may."""
    return f"reading it takes more than {limits.memory_bytes // (1024 * 1024)} MB of memory"


def write_frame(stream: IO[bytes], frame: bytes) -> None:
    """Sends `frame`. Raises OSError (BrokenPipeError when nobody reads)."""
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


def read_frame(stream: IO[bytes], longest: int | None = None) -> bytes | None:
    """The next frame; None at the end of the stream. Raises ValueError for one that is longer."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if longest is not None and length > longest:
        raise ValueError(f"a message of {length} bytes; at most {longest} are taken")
    frame = stream.read(length)
    return frame if len(frame) == length else None
