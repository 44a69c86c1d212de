"""XLSX: a section a sheet, its rows as a table. Formulas show the value that was saved."""

import datetime
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from openpyxl.reader.excel import ExcelReader

from retrieval.document import Document
from retrieval.errors import FileRejected
from retrieval.formats.numbers import shown_number
from retrieval.formats.ooxml import checked_package
from retrieval.formats.table import markdown_table

__all__ = ["read_sheets"]


def read_sheets(data: bytes) -> Document:
    """All sheets with cells in them. Raises FileRejected for a package that cannot be used."""
    reader = _Reader(checked_package(data), read_only=True, data_only=True, keep_links=False)
    reader.read()
    book = reader.wb
    sections: list[str] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its size can be a thousand times too much
        if table := markdown_table(_rows(sheet)):
            sections.append(f"## {' '.join(sheet.title.split())}\n\n{table}")
    book.close()
    return Document(text="\n\n".join(sections), markup="markdown")


class _Reader(ExcelReader):
    """Passes over charts that are sheets: they have no cells, and an empty one cannot be read.

    A sheet that is named and not there is no reason to leave it out, as openpyxl does: nobody
    would learn that its rows cannot be found.
    """

    def read_worksheets(self) -> None:
        missing = [
            sheet.name
            for sheet, rel in self.parser.find_sheets()
            if rel.target not in self.valid_files  # pyright: ignore[reportUnknownMemberType]
        ]
        if missing:
            raise FileRejected(
                f"the workbook is damaged: it names {', '.join(map(repr, missing))}, "
                "and has no such sheet in it"
            )
        super().read_worksheets()

    def read_chartsheet(self, sheet: Any, rel: Any) -> None:
        pass

    def read_strings(self) -> None:
        """Some writers promise a part of shared strings and write none, since no cell uses it."""
        with suppress(KeyError):
            super().read_strings()


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows():
        if any(cell.value is not None for cell in row):
            yield [_shown(cell) for cell in row]


def _shown(cell: Any) -> str:
    match value := cell.value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case int() | float():
            return shown_number(value, cell.number_format)
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(" ", "seconds")
        case _:
            return str(value)
