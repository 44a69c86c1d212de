"""A file's bytes to a document: the one entry to all formats. Runs in the parser's process."""

import re

from retrieval.document import Document
from retrieval.errors import FileRejected
from retrieval.formats.delimited import read_delimited
from retrieval.formats.kind import Kind, kind_of
from retrieval.formats.plain import read_plain
from retrieval.formats.records import read_json, read_json_lines
from retrieval.text_encoding import decode_text

__all__ = ["read_document"]

# Control characters would reach terminals and prompts, and lone surrogates no database takes: one
# character for each keeps the offsets.
_CONTROL = {code: " " for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A)}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_UNUSABLE = _CONTROL | dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")


def read_document(data: bytes, filename: str) -> Document:
    """The document. Raises FileRejected with the reason, and what a library raises on bad files."""
    if not data:
        raise FileRejected("the file is empty")
    document = _read(kind_of(data, filename), data)
    if not document.text.strip():
        raise FileRejected("the file holds no text")
    if not _UNPRINTABLE.search(document.text):
        return document
    return Document(
        text=document.text.translate(_UNUSABLE),
        markup=document.markup,
        page_starts=document.page_starts,
    )


def _read(kind: Kind, data: bytes) -> Document:  # noqa: C901 - one line a format
    # The libraries are imported when a file first needs them: some take 200 ms.
    match kind:
        case Kind.PDF:
            from retrieval.formats.pdf import read_pdf

            return read_pdf(data)
        case Kind.WORD:
            from retrieval.formats.word import read_word

            return read_word(data)
        case Kind.SLIDES:
            from retrieval.formats.slides import read_slides

            return read_slides(data)
        case Kind.SHEETS:
            from retrieval.formats.sheets import read_sheets

            return read_sheets(data)
        case Kind.OPEN_DOCUMENT:
            from retrieval.formats.opendocument import read_opendocument

            return read_opendocument(data)
        case Kind.HTML:
            from retrieval.formats.html_page import decode_html, read_html

            return read_html(decode_html(data))
        case Kind.MAIL:
            from retrieval.formats.mail import read_mail

            return read_mail(data)
        case Kind.DELIMITED:
            return read_delimited(decode_text(data))
        case Kind.JSON:
            return read_json(decode_text(data))
        case Kind.JSON_LINES:
            return read_json_lines(decode_text(data))
        case Kind.MARKDOWN:
            return read_plain(decode_text(data), "markdown")
        case Kind.CODE:
            return read_plain(decode_text(data), "lines")
        case Kind.PLAIN:
            return read_plain(decode_text(data), "plain")
