"""Questions, truths and submissions as tables: CSV or JSON lines, read strictly.

What is wrong is named by file, row, line and column. A row is a record, counted from 1 without the
head; a line is the file's, since fields may hold line breaks.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from clients.api import ClientError

__all__ = [
    "DatasetError",
    "OtherQuestionsError",
    "Pairing",
    "Table",
    "aligned",
    "index_of",
    "pair",
    "read_head",
    "read_table",
]

ID = "id"
MAX_FIELD_CHARS = 16 * 2**20
SHOWN = 5  # of many ids, in a message


class DatasetError(ClientError):
    """A file that cannot be used as it is; the message says where and why."""


class OtherQuestionsError(DatasetError):
    """A run that has none of the truth's questions."""


class Table(Struct, frozen=True, kw_only=True):
    """Some columns of a file, each a list with one text a row; `lines` are where rows begin."""

    path: Path
    header: tuple[str, ...]
    columns: dict[str, list[str]]
    lines: list[int]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """A column. Raises DatasetError that names it where the file has none."""
        if name not in self.columns:
            raise DatasetError(missing_columns(self.path, [name], self.header))
        return self.columns[name]

    def at(self, row: int, column: str) -> str:
        """Where a field stands, for messages; `row` counts from 0."""
        return f"{self.path}, row {row + 1} (line {self.lines[row]}), column '{column}'"


class Pairing(Struct, frozen=True, kw_only=True):
    """Rows of two tables with one id, in the truth's order; and the ids that only one has."""

    rows: list[tuple[int, int]]
    missing: list[str]  # in the truth alone
    extra: list[str]  # in the submission alone


def read_head(path: Path) -> tuple[str, ...]:
    """The names of a file's columns. Raises DatasetError."""
    _, header = next(_records(path, _text(path)[0]), (1, list[str]()))
    return tuple(name.strip() for name in header)


def read_table(
    path: Path, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> Table:
    """A file's columns: those `required`, and those `optional` that it has (None: all it has).

    Raises DatasetError.
    """
    text, warnings = _text(path)
    records = _records(path, text, required)
    line, header = next(records, (1, list[str]()))
    names = tuple(name.strip() for name in header)
    if not any(names):
        raise DatasetError(f"{path} is empty: it has no head row.")
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise DatasetError(f"{path}, line {line}: the column '{twice[0]}' stands there twice.")
    lacking = [name for name in required if name not in names]
    if lacking:
        raise DatasetError(missing_columns(path, lacking, names))
    wanted = [n for n in names if n in required or optional is None or n in optional]
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    places = [(names.index(name), column.append) for name, column in columns.items()]
    lines: list[int] = []
    for line, fields in records:
        if len(fields) != len(names):
            if not fields:
                continue  # an empty line
            raise DatasetError(_uneven(path, len(lines) + 1, line, fields, names))
        lines.append(line)
        for place, append in places:
            append(fields[place])
    if not lines:
        raise DatasetError(f"{path} has no rows, only its head.")
    return Table(path=path, header=names, columns=columns, lines=lines, warnings=warnings)


def index_of(table: Table, column: str = ID) -> dict[str, int]:
    """Rows by their id, trimmed and lower-cased. Raises DatasetError: an id empty or twice."""
    values = table.column(column)
    keys = [value.strip().lower() for value in values]
    index = {key: row for row, key in enumerate(keys)}
    if len(index) == len(keys) and "" not in index:
        return index
    found: dict[str, int] = {}
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        if not key:
            raise DatasetError(f"{table.at(row, column)}: the id is empty.")
        if key in found:
            first = table.lines[found[key]]
            raise DatasetError(
                f"{table.at(row, column)}: '{value.strip()}' stands there already, in line {first}."
            )
        found[key] = row
    return found


def pair(truth: Table, submission: Table, column: str = ID, *, partial: bool = False) -> Pairing:
    """The rows that belong together. Raises DatasetError: ids in one file only, unless `partial`.

    A run that stopped half-way must not pass for a whole one, so the intersection has to be asked
    for; even then there must be one.
    """
    known, given = index_of(truth, column), index_of(submission, column)
    rows = [(row, given[key]) for key, row in known.items() if key in given]
    missing = [key for key in known if key not in given] if len(rows) < len(known) else []
    extra = [key for key in given if key not in known] if len(rows) < len(given) else []
    if not rows:
        raise OtherQuestionsError(
            f"{truth.path} and {submission.path} have no '{column}' in common (the first: "
            f"'{next(iter(known))}' and '{next(iter(given))}')."
        )
    if not partial and (missing or extra):
        parts: list[str] = []
        for ids, index, table in ((missing, known, truth), (extra, given, submission)):
            if ids:
                where = table.at(index[ids[0]], column)
                parts.append(f"{len(ids)} only in {table.path} ({_some(ids)}; the first: {where})")
        raise DatasetError(
            f"{truth.path} and {submission.path} do not have the same questions: "
            f"{'; '.join(parts)}. "
            "--partial scores those in both, and says so."
        )
    return Pairing(rows=rows, missing=missing, extra=extra)


def aligned(
    truth: Table, runs: Sequence[Table], column: str = ID, *, partial: bool = False
) -> tuple[Table, list[Table]]:
    """All tables with the same questions in the truth's order, so that rows can be compared.

    Raises DatasetError: ids that one of them lacks, unless `partial`, which keeps what all have.
    """
    for run in runs:
        pair(truth, run, column, partial=partial)
    known, indexes = index_of(truth, column), [index_of(run, column) for run in runs]
    kept = [key for key in known if all(key in index for index in indexes)]
    if not kept:
        raise DatasetError(f"No '{column}' is in all of the {len(runs) + 1} files.")
    rows = [[index[key] for key in kept] for index in indexes]
    return _chosen(truth, [known[key] for key in kept]), [
        _chosen(run, mine) for run, mine in zip(runs, rows, strict=True)
    ]


def _chosen(table: Table, rows: Sequence[int]) -> Table:
    columns = {name: [values[row] for row in rows] for name, values in table.columns.items()}
    lines = [table.lines[row] for row in rows]
    return msgspec.structs.replace(table, columns=columns, lines=lines)


def missing_columns(path: Path, names: Sequence[str], header: Sequence[str]) -> str:
    """The message about columns that a file lacks."""
    wanted = ", ".join(f"'{name}'" for name in names)
    hint = ""
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        hint = " Columns must be separated by commas."
    has = "".join(
        one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in ", ".join(header)
    )
    return f"{path}, line 1: there is no column {wanted}; it has: {has}.{hint}"


def _text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The file's text, whatever common encoding it is in, and a note where that was a guess."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error.strerror}.") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in raw[:2]:  # every other byte of English in UTF-16, which lacks its mark
        encodings = ["utf-16-be" if raw[:1] == b"\0" else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        guessed = encoding in ("cp1252", "latin-1")
        name = "Windows-1252" if encoding == "cp1252" else "Latin-1"
        return text, (f"{path} is not UTF-8; it was read as {name}.",) if guessed else ()
    raise DatasetError(f"{path} is neither UTF-8, UTF-16 nor Latin-1 text.")


def _records(
    path: Path, text: str, required: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """The lines that records begin in, and their fields; the head is the first."""
    if path.suffix == ".json":
        raise DatasetError(f"{path}: JSON has to be an object a line, in a file *.jsonl.")
    if path.suffix in (".jsonl", ".ndjson"):
        return _json_lines(path, text, required)
    return _csv(path, text)


def _csv(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for fields in reader:
            yield begins, fields
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}, line {begins}: it is not valid CSV: {error}.") from error


def _json_lines(path: Path, text: str, required: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Objects as rows; the head is the keys of all of them. Lists and objects stay JSON.

    A field may be null, or not be there unless it is `required`.
    """
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                objects.append((number, msgspec.json.decode(line, type=dict[str, Any])))
            except (msgspec.DecodeError, RecursionError) as error:
                raise DatasetError(f"{path}, line {number}: {error}.") from error
    names = list(dict.fromkeys(name for _, one in objects for name in one))
    yield 1, names
    for row, (number, one) in enumerate(objects, 1):
        if lacking := [name for name in required if name not in one]:
            raise DatasetError(f"{path}, row {row} (line {number}): there is no '{lacking[0]}'.")
        yield number, [_as_text(one.get(name)) for name in names]


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _uneven(path: Path, row: int, line: int, fields: Sequence[str], names: Sequence[str]) -> str:
    what = f"it has {len(fields)} fields, the head has {len(names)}"
    if len(fields) < len(names):
        what += f"; the first that is missing is '{names[len(fields)]}'"
    return f"{path}, row {row} (line {line}): {what}."


def _some(ids: Iterable[str]) -> str:
    known = list(ids)
    shown = ", ".join(known[:SHOWN])
    return shown if len(known) <= SHOWN else f"{shown}, …"
