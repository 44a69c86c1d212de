"""From a file's bytes to its text and where its pages begin. Pure; raises only FileRejected.

A new format is one more entry in `_PARSERS`; nothing after this module knows about formats.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Literal

from msgspec import Struct

from retrieval.errors import FileRejected
from retrieval.text_encoding import decode_text

__all__ = ["SUPPORTED_SUFFIXES", "Document", "clean_filename", "parse"]

Markup = Literal["markdown", "plain"]

_LONGEST_NAME = 255  # bytes; what file systems take
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Control characters inside a text would reach terminals and prompts; a space keeps the offsets.
_BLANKED = {code: " " for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A)}
_FOREIGN_STARTS = ((b"%PDF-", "a PDF"), (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "gzip"))


class Document(Struct, frozen=True, kw_only=True):
    """A document's text, with newlines as `\\n` only.

    `page_starts` are the offsets, in code points, at which pages begin (the first is 0), and is
    empty where the format has no pages.
    """

    text: str
    markup: Markup
    page_starts: tuple[int, ...] = ()


def parse(data: bytes, filename: str) -> Document:
    """Reads `data` as what the extension of `filename` says it is.

    Raises FileRejected with the reason: unknown extension, empty, binary, no text.
    """
    suffix = PurePosixPath(filename).suffix.lower()
    parser = _PARSERS.get(suffix)
    if parser is None:
        known = ", ".join(SUPPORTED_SUFFIXES)
        raise FileRejected(
            f"{filename}: files of type '{suffix or '(no extension)'}' are not supported; "
            f"supported are {known}",
            unsupported=True,
        )
    if not data:
        raise FileRejected(f"{filename}: the file is empty")
    document = parser(data, filename)
    if not document.text.strip():
        raise FileRejected(f"{filename}: the file holds no text")
    return document


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


def _parse_text(markup: Markup) -> Callable[[bytes, str], Document]:
    def parse_text(data: bytes, filename: str) -> Document:
        for start, what in _FOREIGN_STARTS:
            if data.startswith(start):
                raise FileRejected(f"{filename}: the file is {what}, whatever its name says")
        text = decode_text(data, filename).replace("\r\n", "\n").replace("\r", "\n")
        pages = [page.translate(_BLANKED) for page in text.split("\f")]
        starts: list[int] = []
        offset = 0
        for page in pages:
            starts.append(offset)
            offset += len(page) + 2
        # A blank line: what stands on two pages is never one paragraph.
        return Document(
            text="\n\n".join(pages),
            markup=markup,
            page_starts=tuple(starts) if len(starts) > 1 else (),
        )

    return parse_text


_PARSERS: dict[str, Callable[[bytes, str], Document]] = {
    ".markdown": _parse_text("markdown"),
    ".md": _parse_text("markdown"),
    ".txt": _parse_text("plain"),
}

SUPPORTED_SUFFIXES = tuple(sorted(_PARSERS))
