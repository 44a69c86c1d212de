"""Rows of cells as a Markdown table, which the chunker keeps whole or cuts between rows. Pure."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """The table with its first row as head; rows and columns without any text are left out.

    Cells are shown in one line each. A bar in a cell stays as it is: the text is what is cited.
    """
    kept = [cells for row in rows if any(cells := [" ".join(cell.split()) for cell in row])]
    if not kept:
        return ""
    # One cell in the last column of a sheet would be a table of 16,384.
    columns = sorted({place for row in kept for place, cell in enumerate(row) if cell})
    width = len(columns)
    if columns[-1] >= width:
        kept = [[row[place] for place in columns if place < len(row)] for row in kept]
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
