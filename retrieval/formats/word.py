"""DOCX as Markdown: headings, lists, tables, charts, notes; in the order of the document."""

import re
from collections.abc import Iterator
from typing import Any, cast

import docx
from docx.document import Document as WordDocument
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from retrieval.document import Document
from retrieval.formats.drawing import drawn_text
from retrieval.formats.ooxml import checked_package
from retrieval.formats.table import markdown_table

__all__ = ["read_word"]

Element = Any  # lxml's, which has no types

_NOTES = {
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships/endnotes",
}
_HEADING = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_WIDEST_SPAN = 100  # columns that one cell takes; Word has 63 at most
_DEEPEST = 6  # heading levels of Markdown
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_PARAGRAPH, _TABLE, _TEXT = qn("w:p"), qn("w:tbl"), qn("w:t")
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
# Not text: what was deleted, what a field computes from, and the same shape once more.
_SKIPPED = {qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), qn("w:rPr"), qn("w:instrText"), _FALLBACK}


def read_word(data: bytes) -> Document:
    """The body, then foot- and endnotes. Raises FileRejected for a package that cannot be used."""
    document = docx.Document(checked_package(data))
    levels = _heading_levels(document)
    blocks = list(_blocks(cast("Element", document.element).body, levels, document.part))
    notes = [
        block for note in _note_parts(document) for block in _blocks(note, levels, document.part)
    ]
    if notes:
        blocks += ["## Notes", *notes]
    text = ""
    for block in blocks:  # the items of a list stand together
        tight = block.startswith("- ") and text.rpartition("\n")[2].startswith("- ")
        text += ("" if not text else "\n" if tight else "\n\n") + block
    return Document(text=text, markup="markdown")


def _blocks(parent: Element, levels: dict[str, int], part: Any) -> Iterator[str]:
    for child in parent:
        if child.tag == _PARAGRAPH:
            if block := _paragraph(child, levels):
                yield block
            yield from drawn_text(child, part, parse_xml)
        elif child.tag == _TABLE:
            if table := markdown_table(_rows(child)):
                yield table
        elif child.tag not in _SKIPPED:  # content controls, insertions, notes: what is in them
            yield from _blocks(child, levels, part)


def _paragraph(paragraph: Element, levels: dict[str, int]) -> str:
    text = "\n".join(line.strip() for line in _text(paragraph).split("\n")).strip()
    style = paragraph.style or ""
    level = levels.get(style)
    if text and level:
        return f"{'#' * level} {' '.join(text.split())}"
    properties = paragraph.pPr
    if text and properties is not None and properties.numPr is not None:
        return f"- {text}"
    return text


def _text(element: Element) -> str:
    """Of runs, links, insertions, fields, text boxes and equations, in their order."""
    parts: list[str] = []
    waiting: list[Element] = list(reversed(element))
    while waiting:
        child = waiting.pop()
        if child.tag in _SKIPPED:
            continue
        if child.tag == _TEXT or child.tag == f"{_MATH}t":
            parts.append(child.text or "")
        elif child.tag in _BREAKS:
            parts.append(_BREAKS[child.tag])
        else:
            if child.tag == _PARAGRAPH:
                parts.append("\n")  # of a text box
            waiting += reversed(child)
    return "".join(parts)


def _rows(table: Element) -> Iterator[list[str]]:
    for row in table.iter(qn("w:tr")):
        if next(row.iterancestors(_TABLE)) is table:
            # A table in a cell is read as that cell's text.
            cells: list[str] = []
            for cell in row.iterchildren(qn("w:tc")):
                cells += [_text(cell), *[""] * min(cell.grid_span - 1, _WIDEST_SPAN)]
            yield cells


def _heading_levels(document: WordDocument) -> dict[str, int]:
    """Style ids of headings, by name or by the outline level that Word gives them."""
    levels: dict[str, int] = {}
    for style in cast("Element", document.styles.element).iterchildren(qn("w:style")):
        name = str(style.name_val or "")
        outline = style.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
        if found := _HEADING.match(name):
            levels[style.styleId] = min(int(found[1]), _DEEPEST)
        elif name.lower() == "title":
            levels[style.styleId] = 1
        elif outline is not None and (outline.get(qn("w:val")) or "9") in "012345":
            levels[style.styleId] = int(outline.get(qn("w:val"))) + 1
    return levels


def _note_parts(document: WordDocument) -> Iterator[Element]:
    for relation in document.part.rels.values():
        if relation.reltype in _NOTES and not relation.is_external:
            yield parse_xml(relation.target_part.blob)
