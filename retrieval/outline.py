"""A text's structure: sections under headings, and the blocks in them. Pure and linear in time."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from retrieval.document import Markup

__all__ = ["Block", "Section", "outline"]

BlockKind = Literal["prose", "list", "lines"]

_LONGEST_HEADING = 200  # longer lines are text: a heading is repeated with every chunk below it
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,9}[.)])[ \t]")
_TABULAR = re.compile(r"[ \t]*\||    |\t")


class Block(NamedTuple):
    """A paragraph, list, table or piece of code: text[start:end] has no blank ends.

    "prose" may be cut after sentences, the others after lines.
    """

    start: int
    end: int
    kind: BlockKind


class Section(NamedTuple):
    """What stands under one heading. `start` is that of its heading lines, `body` their end."""

    path: tuple[str, ...]  # headings from the outermost to its own
    start: int
    body: int
    blocks: list[Block]


def outline(text: str, markup: Markup) -> list[Section]:
    """The sections of `text` in order; together they hold every character that is not blank.

    Markdown headings are `#` lines and underlined lines. In plain text they are underlined lines
    and lines of capitals that stand alone; "lines" have none. A heading with nothing below it but
    a deeper heading begins that one's section.
    """
    if markup == "lines":
        return _paragraphs_of_lines(text)
    markdown = markup == "markdown"
    builder = _Outliner(text, markdown)
    fence = ""
    for start, end in _lines(text):
        line = text[start:end]
        if fence:
            builder.extend(start, end, "lines")
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
                builder.close()
        elif not line.strip():
            builder.close()
        elif markdown and (opening := _FENCE.match(line)):
            fence = opening[1]
            builder.close()
            builder.extend(start, end, "lines")
        elif markdown and len(line) <= _LONGEST_HEADING and (atx := _ATX.fullmatch(line)):
            builder.close()
            title = re.sub(r"[ \t]+#+[ \t]*$", "", atx[2]).strip()
            builder.heading(len(atx[1]), title, start, end)
        elif builder.one_line and len(line) <= _LONGEST_HEADING and _UNDERLINE.fullmatch(line):
            builder.underlined(1 if "=" in line else 2, end)
        else:
            builder.extend(start, end, _kind(line))
    builder.close()
    return builder.finish()


class _Outliner:
    """Collects lines into blocks and blocks into sections."""

    def __init__(self, text: str, markdown: bool) -> None:
        self._text = text
        self._markdown = markdown
        self._sections: list[Section] = [Section((), 0, 0, [])]
        self._levels: list[int] = []
        self._block: Block | None = None
        self.one_line = False  # the open block is one short line: it may yet be a heading

    def extend(self, start: int, end: int, kind: BlockKind) -> None:
        block = self._block
        if block is not None and not (block.kind == kind or (block.kind, kind) in _CONTINUES):
            self.close()
            block = None
        if block is None:
            self._block = Block(start, end, kind)
            short = end - start <= _LONGEST_HEADING
            # In plain text, "1. INTRODUCTION" is more likely a heading than a list.
            self.one_line = short and (kind == "prose" or (kind == "list" and not self._markdown))
        else:
            self._block = block._replace(end=end)
            self.one_line = False

    def underlined(self, level: int, end: int) -> None:
        assert self._block is not None
        start, title_end, _ = self._block
        self._block = None
        self.heading(level, self._text[start:title_end].strip(), start, end)

    def close(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        line = self._text[block.start : block.end]
        if self.one_line and not self._markdown and _is_capitals(line):
            # The document's first line is its title, the others stand one level below.
            level = 1 if self._is_empty() else 2
            self.heading(level, line.strip(), block.start, block.end)
        else:
            start = block.end - len(line.lstrip())
            self._sections[-1].blocks.append(
                Block(start, block.start + len(line.rstrip()), block.kind)
            )
        self.one_line = False

    def heading(self, level: int, title: str, start: int, end: int) -> None:
        self.one_line = False
        line = self._text[start:end]
        start, end = end - len(line.lstrip()), start + len(line.rstrip())
        last = self._sections[-1]
        deeper = bool(last.path) and level > self._levels[-1]
        while self._levels and self._levels[-1] >= level:
            self._levels.pop()
        path = (*last.path[: len(self._levels)], title)
        self._levels.append(level)
        if deeper and not last.blocks:
            self._sections[-1] = Section(path, last.start, end, [])
        else:
            self._sections.append(Section(path, start, end, []))

    def _is_empty(self) -> bool:
        return len(self._sections) == 1 and not self._sections[0].blocks

    def finish(self) -> list[Section]:
        return [section for section in self._sections if section.path or section.blocks]


def _paragraphs_of_lines(text: str) -> list[Section]:
    """One section; blank lines part its blocks."""
    builder = _Outliner(text, markdown=True)
    for start, end in _lines(text):
        if text[start:end].strip():
            builder.extend(start, end, "lines")
        else:
            builder.close()
    builder.close()
    return builder.finish()


# (open block, next line): a list item may run on in lines of another look.
_CONTINUES = {("list", "prose"), ("list", "lines")}


def _kind(line: str) -> BlockKind:
    if _LIST_ITEM.match(line):
        return "list"
    return "lines" if _TABULAR.match(line) else "prose"


def _is_capitals(line: str) -> bool:
    return line.isupper() and sum(map(str.isalpha, line)) >= 4 and line[0] not in " \t"


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        if end < 0:
            end = len(text)
        yield start, end
        start = end + 1
