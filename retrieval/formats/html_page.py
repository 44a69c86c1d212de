"""HTML as Markdown: headings, paragraphs, lists, tables, code; without navigation and scripts."""

import codecs
import re

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from retrieval.document import Document
from retrieval.formats.table import markdown_table
from retrieval.text_encoding import decode_text

__all__ = ["decode_html", "read_html"]

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_CHARSET_WITHIN = 4096  # bytes
_SKIPPED_TAGS = """
    script style noscript template svg canvas iframe object head nav footer select button
    datalist dialog audio video map
"""
_SKIPPED = frozenset(_SKIPPED_TAGS.split())
_BLOCK_TAGS = """
    p div section article main header aside address figure figcaption blockquote fieldset form
    details summary dl dt dd ul ol li hr body html center table caption tbody thead tfoot
"""
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CELLS = frozenset(("td", "th"))
_LEAST_MAIN = 0.4  # of the page's text is in its main part, if the page says which that is
_LONGEST_CELL = 500  # characters; a table of longer cells lays a page out
_WIDEST_SPAN = 100  # columns or rows that one cell takes


def decode_html(data: bytes, charset: str | None = None) -> str:
    """The text of a page: by `charset`, by what the page says of itself, or by its bytes."""
    found = _CHARSET.search(data[:_CHARSET_WITHIN])
    name = charset or (found[1].decode("ascii") if found else "")
    marked = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if name and not marked and not name.lower().startswith(("utf-8", "utf8", "utf-16", "utf-32")):
        try:
            # Pages that say Latin-1 mean what browsers read: Windows' own.
            name = "cp1252" if codecs.lookup(name).name == "iso8859-1" else name
            return data.decode(name, "replace").replace("\0", " ")
        except (LookupError, UnicodeError):
            pass  # no such text encoding
    return decode_text(data)


def read_html(text: str) -> Document:
    """What a reader of the page reads, under its title where it has no heading of its own.

    Raises MemoryError.
    """
    try:
        tree = LexborHTMLParser(text)
    except SelectolaxError:  # it takes any text: only memory can fail it
        raise MemoryError from None
    body = tree.body
    if body is None:
        return Document(text="", markup="markdown")
    writer = _Writer()
    title = tree.css_first("title")
    if title is not None and tree.css_first("h1") is None:
        writer.heading(1, title.text())
    _walk(_main(tree, body), writer)
    return Document(text=writer.finish(), markup="markdown")


def _main(tree: LexborHTMLParser, body: LexborNode) -> LexborNode:
    """The element that holds the page's own text, where the page marks one."""
    marked = tree.css("main, [role=main], article")
    if not marked:
        return body
    whole = len(body.text())
    best = max(marked[:50], key=lambda node: len(node.text()))
    return best if len(best.text()) >= _LEAST_MAIN * whole else body


def _walk(root: LexborNode, writer: "_Writer") -> None:
    """Depth first with a stack of its own: pages can be nested a million deep."""
    waiting: list[tuple[LexborNode, bool]] = [(root, False)]
    while waiting:
        node, entered = waiting.pop()
        if entered:
            writer.leave(node.tag or "")
            continue
        if node is not root and node.next is not None:
            waiting.append((node.next, False))
        if node.is_text_node:
            writer.words(node.text_content or "")
        elif node.is_element_node and not _is_hidden(node):
            if node.tag in _CELLS:
                writer.span(_span(node, "colspan"), _span(node, "rowspan"))
            writer.enter(node.tag or "")
            waiting.append((node, True))
            if (child := node.first_child) is not None:
                waiting.append((child, False))


def _span(cell: LexborNode, attribute: str) -> int:
    given = (cell.attributes.get(attribute) or "")[:3]
    return min(max(int(given), 1), _WIDEST_SPAN) if given.isdecimal() else 1


def _is_hidden(node: LexborNode) -> bool:
    if node.tag in _SKIPPED:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    style = (attributes.get("style") or "").replace(" ", "").lower()
    return (
        "hidden" in attributes
        or "display:none" in style
        or attributes.get("role") in ("navigation", "search")
    )


class _Writer:
    """Collects words into blocks, and cells into tables. The outermost table is one block."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._words: list[str] = []
        self._prefix = ""  # of the block that is open: a list mark
        self._lists: list[int] = []  # of each open list: its next number, or -1 without numbers
        self._preformatted = 0
        self._tables = 0  # how deep
        self._nested = False
        self._rows: list[list[str]] = []
        self._spans = (1, 1)  # columns and rows of the outermost table's open cell
        self._taken: dict[int, int] = {}  # by column: the first row that no cell above it reaches

    def words(self, text: str) -> None:
        self._words.append(text if self._preformatted else re.sub(r"\s+", " ", text))

    def span(self, columns: int, rows: int) -> None:
        """How much the cell that is entered next takes."""
        if self._tables == 1:
            self._spans = columns, rows

    def enter(self, tag: str) -> None:
        if self._tables and not (tag == "table" or tag == "tr" or tag in _CELLS):
            if tag in _BLOCKS or tag == "br" or tag in _HEADINGS:
                self._words.append("\n")
            return
        match tag:
            case "table":
                self._enter_table()
            case "tr" if self._tables == 1:
                self._rows.append([])
            case "td" | "th" if self._tables == 1:
                self._loose()
            case "td" | "th" | "tr" if self._tables:
                self._words.append("\n")
            case "br":
                self._words.append("\n")
            case "pre":
                self._close()
                self._preformatted += 1
            case "ul" | "ol":
                self._close()
                self._lists.append(1 if tag == "ol" else -1)
            case "li":
                self._close()
                self._prefix = self._list_mark()
            case _ if tag in _BLOCKS or tag in _HEADINGS:
                self._close()
            case _:
                pass

    def leave(self, tag: str) -> None:
        if self._tables and not (tag == "table" or tag in _CELLS):
            return
        match tag:
            case "table":
                self._leave_table()
            case "td" | "th" if self._tables == 1 and self._rows:
                self._cell("".join(self._words).strip())
                self._words.clear()
            case "pre":
                code = "".join(self._words).strip("\n")
                self._words.clear()
                self._preformatted -= 1
                self._add(f"```\n{code}\n```" if code.strip() else "")
            case "ul" | "ol":
                self._close()
                self._lists.pop()
            case _ if tag in _HEADINGS:
                self.heading(_HEADINGS[tag], "".join(self._words))
                self._words.clear()
            case _ if tag in _BLOCKS:
                self._close()
            case _:
                pass

    def heading(self, level: int, title: str) -> None:
        said = " ".join(title.split())
        self._add(f"{'#' * level} {said}" if said else "")

    def finish(self) -> str:
        self._close()
        text = ""
        parts: list[str] = []
        for block in self._blocks:
            tight = _is_item(block) and _is_item(text)
            parts += ["" if not parts else "\n" if tight else "\n\n", block]
            text = block
        return "".join(parts)

    def _enter_table(self) -> None:
        if not self._tables:
            self._close()
            self._rows = []
            self._taken = {}
            self._nested = False
        else:
            self._nested = True
        self._tables += 1

    def _cell(self, text: str) -> None:
        """Under its own head, whatever cells of other rows reach into this one."""
        row, number = self._rows[-1], len(self._rows) - 1
        columns, rows = self._spans
        while self._taken.get(len(row), 0) > number:
            row.append("")
        for place in range(columns):
            self._taken[len(row)] = number + rows
            row.append("" if place else text)

    def _leave_table(self) -> None:
        self._tables -= 1
        if self._tables:
            return
        self._loose()
        cells = [cell for row in self._rows for cell in row]
        if self._nested or any(len(cell) > _LONGEST_CELL for cell in cells):
            for cell in cells:
                self._add(_tidy(cell))
        else:
            self._add(markdown_table(self._rows))
        self._rows = []

    def _loose(self) -> None:
        """What stands in a table and in none of its cells: a caption."""
        loose, self._words = "".join(self._words), []
        self._add(_tidy(loose))

    def _list_mark(self) -> str:
        if not self._lists:
            return "- "
        number = self._lists[-1]
        if number > 0:
            self._lists[-1] += 1
        indent = "  " * min(len(self._lists) - 1, 8)
        return f"{indent}{number}. " if number > 0 else f"{indent}- "

    def _close(self) -> None:
        if self._preformatted:
            self._words.append("\n")
            return
        text = _tidy("".join(self._words))
        self._words.clear()
        if text:
            self._add(self._prefix + text)
            self._prefix = ""

    def _add(self, block: str) -> None:
        if block:
            self._blocks.append(block)


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _is_item(block: str) -> bool:
    return re.match(r" *(?:- |\d+\. )", block) is not None
