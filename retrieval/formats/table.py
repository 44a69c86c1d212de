"""Rows of cells as a Markdown table, which the chunker keeps whole or cuts between rows. Pure."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """The table with its first row as head; empty rows and columns at the end are left out.

    Cells are shown in one line each. A bar in a cell stays as it is: the text is what is cited.
    """
    kept = [cells for row in rows if any(cells := [" ".join(cell.split()) for cell in row])]
    if not kept:
        return ""
    width = max(_filled(row) for row in kept)
    head, *body = kept
    lines = [_row(head, width), "|" + "---|" * width]
    lines += [_row(row, min(width, _filled(row))) for row in body]
    return "\n".join(lines)


def _filled(row: Sequence[str]) -> int:
    """How many cells there are up to the last that is not empty."""
    return next((count for count in range(len(row), 0, -1) if row[count - 1]), 0)


def _row(cells: Sequence[str], width: int) -> str:
    padded = [*cells[:width], *[""] * (width - len(cells))]
    return "| " + " | ".join(padded) + " |"
