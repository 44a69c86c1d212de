"""OpenDocument, LibreOffice's format: texts and sheets as Markdown, a page a slide."""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element, ParseError, fromstring

from retrieval.document import Document, of_pages
from retrieval.errors import FileRejected
from retrieval.formats.ooxml import checked_package
from retrieval.formats.table import markdown_table

__all__ = ["read_opendocument"]

_NAMES = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_OFFICE, _TEXT, _TABLE = _NAMES % "office", _NAMES % "text", _NAMES % "table"
_DRAW, _SHOW = _NAMES % "drawing", _NAMES % "presentation"
_HEADING, _PARAGRAPH, _LIST = f"{_TEXT}h", f"{_TEXT}p", f"{_TEXT}list"
_NOTE, _NOTE_BODY, _SPACES = f"{_TEXT}note", f"{_TEXT}note-body", f"{_TEXT}s"
_ONE_TABLE, _ROW = f"{_TABLE}table", f"{_TABLE}table-row"
_CELLS = {f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"}
_SPEAKER_NOTES = f"{_SHOW}notes"
_BREAKS = {f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}
# Not what a reader reads: what was deleted, comments, tables of contents and their kind.
_SKIPPED = {
    *(f"{_TEXT}{name}" for name in ("tracked-changes", "table-of-content", "sequence-decls")),
    *(f"{_TEXT}{name}-index" for name in ("alphabetical", "illustration", "object", "table")),
    *(f"{_OFFICE}{name}" for name in ("annotation", "annotation-end", "forms")),
    _SPEAKER_NOTES,
}
_BLANKS = re.compile(r"[ \t\r\n]+")
_DEEPEST = 6  # heading levels of Markdown
# A row or cell can stand for a million that are alike; nobody reads so many.
_MOST_ALIKE = 1_000
_MOST_MANIFEST = 16 * 1024 * 1024


def read_opendocument(data: bytes) -> Document:
    """Raises FileRejected for a package that cannot be used."""
    if _is_encrypted(data):
        raise FileRejected("the file is encrypted; save it without a password")
    with zipfile.ZipFile(checked_package(data, wanted={"content.xml"})) as package:
        if not package.namelist():
            raise FileRejected("the OpenDocument file is damaged: it has no content.xml")
        try:
            content = fromstring(package.read("content.xml"))  # noqa: S314 - has no document type
        except ParseError as error:
            raise FileRejected(f"the OpenDocument file is damaged: {error}") from None
    body = next(iter(content.find(f"{_OFFICE}body") or ()), None)
    if body is None:
        raise FileRejected("the OpenDocument file has no body")
    reader = _Reader()
    if body.tag == f"{_OFFICE}presentation":
        pages = body.iterfind(f"{_DRAW}page")
        return of_pages([reader.slide(page) for page in pages], "markdown")
    if body.tag == f"{_OFFICE}spreadsheet":
        blocks = [reader.sheet(table) for table in body.iterfind(_ONE_TABLE)]
    else:
        blocks = list(reader.blocks(body))
    if reader.notes:
        blocks += ["## Notes", *reader.notes]
    return Document(text="\n\n".join(block for block in blocks if block), markup="markdown")


class _Reader:
    """Foot- and endnotes are gathered while the text is read, which they follow."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def blocks(self, elements: Iterable[Element]) -> Iterator[str]:
        for element in elements:
            if element.tag in (_HEADING, _PARAGRAPH):
                yield from self._paragraph(element)
            elif element.tag == _LIST:
                yield "\n".join(f"- {text}" for text in self._items(element))
            elif element.tag == _ONE_TABLE:
                yield markdown_table(self._rows(element))
            elif element.tag not in _SKIPPED:  # sections, frames, groups
                yield from self.blocks(element)

    def sheet(self, table: Element) -> str:
        rows = markdown_table(self._rows(table))
        name = " ".join(table.get(f"{_TABLE}name", "").split())
        return f"## {name}\n\n{rows}" if rows else ""

    def slide(self, page: Element) -> str:
        blocks: list[str] = []
        for shape in page:
            said = [block for block in self.blocks([shape]) if block]
            if shape.get(f"{_SHOW}class") == "title" and said:
                blocks.insert(0, f"# {' '.join(' '.join(said).split())}")
            else:
                blocks += said
        notes = page.find(_SPEAKER_NOTES)
        told = [] if notes is None else [block for block in self.blocks(notes) if block]
        if told:
            blocks.append("Notes: " + "\n\n".join(told))
        return "\n\n".join(blocks)

    def _paragraph(self, paragraph: Element) -> Iterator[str]:
        parts: list[str] = []
        shapes: list[Element] = []
        self._inline(paragraph, parts, shapes)
        text = "\n".join(line.strip() for line in "".join(parts).split("\n")).strip()
        if paragraph.tag == _HEADING:
            level = _number(paragraph, f"{_TEXT}outline-level")
        else:
            level = int(paragraph.get(f"{_TEXT}style-name") == "Title")
        yield f"{'#' * min(level, _DEEPEST)} {' '.join(text.split())}" if text and level else text
        yield from self.blocks(shapes)

    def _inline(self, element: Element, parts: list[str], shapes: list[Element]) -> None:
        """The text between the tags; what is drawn among it is for later."""
        parts.append(_BLANKS.sub(" ", element.text or ""))
        for child in element:
            if child.tag in _BREAKS:
                parts.append(_BREAKS[child.tag])
            elif child.tag == _SPACES:
                parts.append(" ")
            elif child.tag == _NOTE:
                self.notes += (block for block in self.blocks(child.iterfind(_NOTE_BODY)) if block)
            elif child.tag.startswith(_DRAW) and child.tag != f"{_DRAW}a":
                shapes.append(child)
            elif child.tag not in _SKIPPED:
                self._inline(child, parts, shapes)
            parts.append(_BLANKS.sub(" ", child.tail or ""))

    def _items(self, parent: Element) -> Iterator[str]:
        for item in parent:
            for child in item:
                if child.tag == _LIST:
                    yield from self._items(child)
                else:
                    yield from (block for block in self.blocks([child]) if block)

    def _rows(self, table: Element) -> Iterator[list[str]]:
        for row in _rows_of(table):
            cells: list[str] = []
            empty = 0
            for cell in row:
                if cell.tag not in _CELLS:
                    continue
                alike = _number(cell, f"{_TABLE}number-columns-repeated")
                text = " ".join(block for block in self.blocks(cell) if block)
                if text:
                    cells += [*[""] * empty, *[text] * min(alike, _MOST_ALIKE)]
                    empty = 0
                else:
                    empty += alike
            if cells:
                alike = _number(row, f"{_TABLE}number-rows-repeated")
                yield from [cells] * min(alike, _MOST_ALIKE)


def _rows_of(table: Element) -> Iterator[Element]:
    for child in table:
        if child.tag == _ROW:
            yield child
        elif child.tag.startswith(_TABLE):  # groups of rows, head rows
            yield from _rows_of(child)


def _number(element: Element, name: str) -> int:
    """What an attribute says, which counts from one."""
    said = element.get(name, "1")
    return max(1, int(said)) if said.isascii() and said.isdigit() and len(said) < 9 else 1


def _is_encrypted(data: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        try:
            manifest = archive.getinfo("META-INF/manifest.xml")
        except KeyError:
            return False
        if manifest.file_size > _MOST_MANIFEST:
            raise FileRejected(f"the file's manifest has {manifest.file_size} bytes")
        return b"encryption-data" in archive.read(manifest)
