"""CSV and its relatives, as one Markdown table."""

import csv
import io
import re

from retrieval.document import Document
from retrieval.formats.plain import normal_newlines, read_plain
from retrieval.formats.table import markdown_table

__all__ = ["read_delimited"]

_SAMPLE = 16 * 1024  # characters that tell the delimiter
_DELIMITERS = ",;\t|"
_SAID = re.compile(r'"?sep=(.)"?\n')  # a first line that says it, as spreadsheets write


def read_delimited(text: str) -> Document:
    """The rows of `text`; what no CSV reader takes is left as it stands."""
    text = normal_newlines(text)
    csv.field_size_limit(len(text) + 1)
    said = _SAID.match(text)
    cells = text[said.end() :] if said else text
    try:
        delimiter = said[1] if said else _delimiter(text[:_SAMPLE])
        rows = list(csv.reader(io.StringIO(cells), delimiter=delimiter))
    except csv.Error:
        return read_plain(text, "lines")
    return Document(text=markdown_table(rows), markup="markdown")


def _delimiter(sample: str) -> str:
    """The mark that cuts most of the first lines into equally many cells, two at least."""
    lines = [line for line in sample.split("\n")[:20] if line.strip()]

    def agreement(mark: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=mark)]
        alike = sum(width == widths[0] for width in widths) if widths and widths[0] > 1 else 0
        return alike, widths[0] if widths else 0

    return max(_DELIMITERS, key=agreement)
