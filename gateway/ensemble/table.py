"""Which cell of a table's row a question asks for. Pure."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from gateway.ensemble.evidence import terms

__all__ = ["asked_cell"]

# What is asked for without the name of its column, and what that column is mostly called.
CALLED = (
    (
        re.compile(r"\bwhat (?:should|shall|must|can|do|to) (?:(?:i|we|you) )?do\b", re.IGNORECASE),
        re.compile(r"\b(?:remed|solution|cure|action|fix|what to do|to do)", re.IGNORECASE),
    ),
    (
        re.compile(r"\bwhat (?:do|does)\b.*\bmean\b|\bstands? for\b", re.IGNORECASE),
        re.compile(r"\b(?:meaning|description|explanation)", re.IGNORECASE),
    ),
)


def asked_cell(heads: Sequence[str], row: Sequence[str], question: str) -> str | None:
    """The cell in the one column whose name has most of the question's words.

    None where no column is named, or two are as well. A cell that only repeats the question is
    what names the row, and no answer.
    """
    for asks, called in CALLED:
        columns = [cell for head, cell in zip(heads, row, strict=False) if called.search(head)]
        if asks.search(question) and len(columns) == 1:
            return columns[0] or None
    asked = terms(question)
    named: list[tuple[int, float, str]] = []
    for head, cell in zip_longest(heads, row, fillvalue=""):
        words = terms(head)
        held = len(words & asked)
        if held and cell and not terms(cell) <= asked:
            named.append((held, held / len(words), cell))
    if not named:
        return None
    best = max(one[:2] for one in named)
    cells = [one[2] for one in named if one[:2] == best]
    return cells[0] if len(cells) == 1 else None
