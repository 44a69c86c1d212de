"""Document text made fit for one line of a prompt or of an answer. Pure."""

import re
from collections.abc import Sequence
from itertools import zip_longest

__all__ = ["cells", "named_row", "one_line", "shorten"]

MARKER = re.compile(r"^[ \t]*(?:#{1,6}|[-+*•]|>|\d{1,3}[.)])[ \t]+")
ROW = re.compile(r"^\|[ \t]*|[ \t]*\|$")
EMPHASIS = re.compile(r"\*\*|__|`")
ELLIPSIS = "…"


def one_line(text: str) -> str:
    """A sentence without line breaks and without Markdown's marks of lists, headings and rows."""
    plain = ROW.sub("", MARKER.sub("", " ".join(text.split())))
    return " ".join(EMPHASIS.sub("", plain).split())


def cells(row: str) -> list[str]:
    """The cells of a Markdown table's row."""
    return [one_line(cell) for cell in row.strip().strip("|").split("|")]


def named_row(heads: Sequence[str], row: Sequence[str]) -> str:
    """A row that can be read alone: "Code: P-130; Meaning: the scanner lamp has failed"."""
    pairs = zip_longest(heads, row, fillvalue="")
    return "; ".join(f"{head}: {cell}" if head else cell for head, cell in pairs if cell)


def shorten(text: str, start: int, end: int, limit: int) -> tuple[int, int]:
    """A window of about `limit` characters around a span of `text`, at white space."""
    if len(text) <= limit:
        return 0, len(text)
    spare = max(0, limit - (end - start)) // 2
    low, high = max(0, start - spare), min(len(text), end + spare)
    if low:
        space = text.find(" ", low, start)
        low = space + 1 if space >= 0 else start
    if high < len(text):
        space = text.rfind(" ", end, high)
        high = space if space >= 0 else end
    return low, high
