"""What a file is: by its content where that is certain, by its name where it is text. Pure."""

import io
import re
import zipfile
import zlib
from enum import Enum, auto
from pathlib import PurePosixPath

from retrieval.errors import FileRejected

__all__ = ["Kind", "kind_of"]


class Kind(Enum):
    """The formats that are read."""

    PDF = auto()
    WORD = auto()
    SLIDES = auto()
    SHEETS = auto()
    OPEN_DOCUMENT = auto()
    HTML = auto()
    MAIL = auto()
    DELIMITED = auto()
    JSON = auto()
    JSON_LINES = auto()
    MARKDOWN = auto()
    CODE = auto()
    PLAIN = auto()


_PDF_MARK = b"%PDF-"
_PDF_MARK_WITHIN = 1024  # bytes; readers accept that much in front of the mark
_PDF_OBJECT = re.compile(rb"\d\s+obj\b")  # a text that speaks of PDF has none
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
# The part that makes a ZIP archive an Office file.
_OFFICE_PARTS = {
    "word/document.xml": Kind.WORD,
    "ppt/presentation.xml": Kind.SLIDES,
    "xl/workbook.xml": Kind.SHEETS,
}
_OPEN_DOCUMENT = b"application/vnd.oasis.opendocument."
_READ_OPEN_DOCUMENTS = tuple(
    _OPEN_DOCUMENT + what for what in (b"text", b"spreadsheet", b"presentation")
)
_REFUSED_STARTS = (
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it"),
    (b"\x89PNG\r\n", "an image (PNG), which has no text to read"),
    (b"\xff\xd8\xff", "an image (JPEG), which has no text to read"),
    (b"GIF8", "an image (GIF), which has no text to read"),
    (b"II*\x00", "an image (TIFF), which has no text to read"),
    (b"MM\x00*", "an image (TIFF), which has no text to read"),
    (b"{\\rtf", "Rich Text (RTF); save it as DOCX"),
    (b"%!PS", "PostScript; convert it to PDF"),
    (b"\x7fELF", "a program"),
)
_HTML_WITHIN = 4096  # bytes
_HTML = re.compile(
    rb"\s*(?:(?><\?xml[^>]*>|<!--.*?-->)\s*)*+<(?:!doctype\s+)?html\b", re.DOTALL | re.I
)
_CODE = """
    .py .pyi .js .mjs .cjs .jsx .ts .tsx .java .c .h .cc .cpp .cxx .hpp .cs
    .go .rs .rb .php .swift .kt .scala .sh .bash .zsh .fish .ps1 .bat .sql
    .r .lua .pl .pm .hs .ml .ex .exs .erl .clj .jl .dart .m .mm .vb .f90
    .toml .yaml .yml .ini .cfg .conf .properties .xml .css .scss .less
    .proto .graphql .tf .cmake .mk .gradle .diff .patch .log
"""
_BY_SUFFIX = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), Kind.HTML),
    **dict.fromkeys((".md", ".markdown", ".mdx"), Kind.MARKDOWN),
    **dict.fromkeys((".csv", ".tsv"), Kind.DELIMITED),
    **dict.fromkeys((".json", ".geojson"), Kind.JSON),
    **dict.fromkeys((".jsonl", ".ndjson"), Kind.JSON_LINES),
    ".eml": Kind.MAIL,
    **dict.fromkeys(_CODE.split(), Kind.CODE),
}


def kind_of(data: bytes, filename: str) -> Kind:
    """The format of `data`. What looks like no format of its own is text of the name's kind.

    Raises FileRejected for formats that are known but not read.
    """
    if data.startswith(_PDF_MARK) or (
        _PDF_MARK in data[:_PDF_MARK_WITHIN] and _PDF_OBJECT.search(data)
    ):
        return Kind.PDF
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _office_kind(data)
    if data.startswith(_OLE):
        raise _ole_rejection(data)
    for start, what in _REFUSED_STARTS:
        if data.startswith(start):
            raise FileRejected(f"the file is {what}", unsupported=True)
    by_name = _BY_SUFFIX.get(PurePosixPath(filename).suffix.lower(), Kind.PLAIN)
    begins = data[:_HTML_WITHIN].removeprefix(b"\xef\xbb\xbf")
    if by_name is Kind.PLAIN and _HTML.match(begins):
        return Kind.HTML
    return by_name


def _office_kind(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            said = _beginning(archive, "mimetype") if "mimetype" in names else b""
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, zlib.error):
        raise FileRejected("the file is a damaged or truncated Office file or ZIP") from None
    for part, kind in _OFFICE_PARTS.items():
        if part in names:
            return kind
    if said.startswith(_READ_OPEN_DOCUMENTS):
        return Kind.OPEN_DOCUMENT
    if "xl/workbook.bin" in names:
        reason = "the file is a binary Excel workbook (XLSB); save it as XLSX"
    elif said.startswith(_OPEN_DOCUMENT):
        reason = "the file is an OpenDocument drawing; save it as PDF"
    elif said:
        reason = "the file is an EPUB file or the like; save it as PDF"
    else:
        reason = "the file is a ZIP archive; unpack it"
    raise FileRejected(reason, unsupported=True)


def _beginning(archive: zipfile.ZipFile, part: str) -> bytes:
    with archive.open(part) as content:
        return content.read(100)


def _ole_rejection(data: bytes) -> FileRejected:
    if _ENCRYPTED_STREAM in data:
        return FileRejected("the file is encrypted; save it without a password")
    return FileRejected(
        "the file is in an old binary Office format; save it as DOCX, PPTX, XLSX or EML",
        unsupported=True,
    )
