"""A GGUF file's header as it stands in the file: its fields, and its tensors' names and sizes.

The `gguf` package has the tables of types and architectures. Its reader makes an array of every
token of a vocabulary, which takes a second for the largest ones; the header alone takes
milliseconds, so it is read here. A file may come from anywhere, so nothing in it is believed:
counts beyond any model's are refused before they take time or memory. (The format:
ggml/docs/gguf.md in llama.cpp's repository.)
"""

import importlib
import importlib.metadata
import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from models.errors import SourceError

_gguf: Any = importlib.import_module("gguf")  # its annotations are partly unknown

__all__ = ["Header", "Tensor", "Value", "number", "read_header"]

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
# struct's letters of the types that have a fixed size, by GGUF's number.
FIXED = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
ADDRESSES = 2**63  # bytes of the longest file that there can be
FIELDS, TENSORS, STRINGS = 1 << 12, 1 << 16, 1 << 22  # more than any model has
LARGEST = 2**48  # of the numbers that memory depends on
KEPT = 4096  # elements or bytes; longer arrays, and those of strings, are only counted
STRIDE = 1 << 17  # bytes of a vocabulary that are looked at together
ONE_BY_ONE = 64  # strings, where one is long: looking again after each would take longer

Value = str | int | float | bool | tuple[Any, ...] | range


class Tensor(Struct, frozen=True):
    """One tensor. `end` is where the file must reach at least, `bytes` its size."""

    name: str
    elements: int
    bytes: int
    end: int


class Header(Struct, frozen=True):
    """Of a field with a long text, or a list that is long or of texts, only the length is known:
    the text is empty, and the list a range.
    """

    path: Path
    fields: Mapping[str, Value]
    tensors: Sequence[Tensor]


def read_header(path: Path) -> Header:
    """Read it. Raises SourceError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise SourceError(f"{path} is empty.")
            # Closed with the last view of it, which an error's traceback may still hold.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return _Reader(path, content).header()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


class _Reader:
    """Goes through a header from its first byte on."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content, self._size = path, content, len(content)
        self._at = 0
        self._reading = "its first bytes"

    def header(self) -> Header:
        try:
            return self._header()
        except (struct.error, OverflowError):
            raise SourceError(
                f"{self._path} is truncated: it has {self._size} bytes and ends within "
                f"{self._reading}."
            ) from None

    def _header(self) -> Header:
        if self._content[:4] != MAGIC:
            raise SourceError(
                f"{self._path} is not a GGUF file: it begins with {self._content[:4]!r}."
            )
        self._at = 4
        version: int = self._take("I")
        if version not in (2, 3):
            turned = " (of a big-endian machine)" if version in (2 << 24, 3 << 24) else ""
            raise SourceError(f"{self._path} is GGUF version {version}{turned}; 2 or 3 is read.")
        tensors = self._count("tensors", TENSORS)
        keys = self._count("fields", FIELDS)
        fields: dict[str, Value] = {}
        for number in range(keys):
            self._reading = f"field {number + 1} of {keys}"
            key = self._name()
            self._reading = f"the field {key}"
            fields[key] = self._value(self._take("I"))
        found: list[tuple[str, int, int, int]] = []
        for number in range(tensors):
            self._reading = f"the description of tensor {number + 1} of {tensors}"
            name = self._name()
            rank: int = self._take("I")
            if rank > 4:
                raise SourceError(f"{self._path}: the tensor {name} has {rank} dimensions.")
            elements = math.prod(self._take("Q") for _ in range(rank))
            found.append((name, elements, self._take("I"), self._take("Q")))
        return self._checked(fields, found)

    def _checked(self, fields: dict[str, Value], found: list[tuple[str, int, int, int]]) -> Header:
        """The header, if the file is as long as its tensors."""
        alignment = int(number(fields, "general.alignment", 32)) or 32
        start = -(-self._at // alignment) * alignment
        tensors: list[Tensor] = []
        for name, elements, kind, offset in found:
            try:
                block, size = _gguf.GGML_QUANT_SIZES[_gguf.GGMLQuantizationType(kind)]
            except (ValueError, KeyError):
                raise SourceError(
                    f"{self._path}: the tensor {name} is of type {kind}, which gguf "
                    f"{importlib.metadata.version('gguf')} does not know."
                ) from None
            length = elements // block * size
            if offset + length >= ADDRESSES:
                raise SourceError(
                    f"{self._path}: the tensor {name} is said to have {length} bytes, {offset} "
                    "bytes behind the header, which no file can; the header is damaged."
                )
            tensors.append(Tensor(name, elements, length, start + offset + length))
        end = max((tensor.end for tensor in tensors), default=0)
        if end > self._size:
            raise SourceError(
                f"{self._path} is truncated: it has {self._size} bytes of {end}. Download it again."
            )
        return Header(self._path, fields, tensors)

    def _take(self, letter: str) -> Any:
        form = struct.Struct(f"<{letter}")
        value = form.unpack_from(self._content, self._at)[0]
        self._at += form.size
        return value

    def _count(self, what: str, most: int) -> int:
        count: int = self._take("Q")
        if count > most:
            raise SourceError(
                f"{self._path} is damaged: it is said to have {count} {what}, and no model has "
                f"more than {most}."
            )
        return count

    def _name(self) -> str:
        length: int = self._take("Q")
        if length > KEPT:
            raise SourceError(
                f"{self._path} is damaged: {self._reading} has a name of {length} bytes."
            )
        return self._text(length)

    def _text(self, length: int) -> str:
        self._skip(length)
        return self._content[self._at - length : self._at].decode("utf-8", "replace")

    def _skip(self, length: int) -> None:
        if self._at + length > self._size:
            raise struct.error
        self._at += length

    def _value(self, kind: int) -> Value:
        if kind == STRING:
            length: int = self._take("Q")
            if length <= KEPT:
                return self._text(length)
            self._skip(length)
            return ""
        if kind in FIXED:
            return self._take(FIXED[kind])
        if kind != ARRAY:
            raise SourceError(f"{self._path} is damaged: {self._reading} is of type {kind}.")
        inner: int = self._take("I")
        if inner == STRING:
            count = self._count(f"texts in {self._reading}", STRINGS)
            self._skip_strings(count)
            return range(count)
        if inner not in FIXED:
            raise SourceError(f"{self._path} is damaged: {self._reading} lists type {inner}.")
        count = self._take("Q")
        if count <= KEPT:
            return tuple(self._take(FIXED[inner]) for _ in range(count))
        self._skip(count * struct.calcsize(f"<{FIXED[inner]}"))
        return range(count)

    def _skip_strings(self, count: int) -> None:
        """Over a vocabulary: the one loop here that takes time, so NumPy finds most lengths.

        Seven zero bytes in a row stand behind the first byte of a length below 256, and hardly
        anywhere else. Where each such place is the end of the string before it, they are lengths.
        """
        one_by_one = ONE_BY_ONE
        while count:
            if self._at >= self._size:
                raise struct.error
            content = np.frombuffer(
                self._content, np.uint8, min(STRIDE, self._size - self._at), self._at
            )
            zero = content == 0
            two = zero[1:-1] & zero[2:]
            four = two[:-2] & two[2:]
            starts = np.flatnonzero(four[:-3] & four[3:])
            ends = starts + 8 + content[starts]
            linked = ends[:-1] == starts[1:]
            run = len(linked) if linked.all() else int(np.argmin(linked))
            run = min(run, count) if len(starts) and starts[0] == 0 else 0
            if run:
                self._at += int(ends[run - 1])
                count -= run
            # Among empty strings looking finds nothing, again and again.
            one_by_one = ONE_BY_ONE if run else 2 * one_by_one
            for _ in range(min(count, one_by_one)):
                length: int = self._take("Q")
                self._at += length
                count -= 1


def number(fields: Mapping[str, Value], key: str, default: float) -> float:
    """A field's number; the default where it has none, or one that can be none of a model."""
    value = fields.get(key)
    return value if isinstance(value, int | float) and 0 <= value < LARGEST else default
