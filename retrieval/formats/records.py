"""JSON and JSON Lines: a line `path: value` for every value, a paragraph for every record."""

import json
from collections.abc import Iterator
from typing import cast

from retrieval.document import Document
from retrieval.errors import FileRejected
from retrieval.formats.plain import normal_newlines, read_plain

__all__ = ["read_json", "read_json_lines"]


def read_json(text: str) -> Document:
    """The members of the outermost list or object are the records.

    Damaged JSON is read line by line, or as it stands.
    """
    try:
        value = _decode(text)
    except ValueError:
        return read_json_lines(text)
    match value:
        case list():
            records = [_record(item) for item in cast("list[object]", value)]
        case dict():
            members = cast("dict[str, object]", value)
            records = [_record({key: item}) for key, item in members.items()]
        case _:
            records = [_record(value)]
    # Members that are one line each belong together; longer ones are paragraphs.
    gap = "\n\n" if any("\n" in record for record in records) else "\n"
    return Document(text=gap.join(record for record in records if record), markup="lines")


def read_json_lines(text: str) -> Document:
    """A record a line; a line that is not JSON stays as it is, and so does a file of none."""
    records: list[str] = []
    understood = 0
    for line in normal_newlines(text).split("\n"):
        try:
            records.append(_record(_decode(line)))
            understood += 1
        except ValueError:
            records.append(line)
    if not understood:
        return read_plain(text, "lines")
    return Document(text="\n\n".join(r for r in records if r.strip()), markup="lines")


def _decode(text: str) -> object:
    try:
        # Numbers stay as they are written: nothing is rounded, and a million digits cost nothing.
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise FileRejected("the JSON is nested too deeply") from None


def _record(value: object) -> str:
    return "\n".join(_lines(value))


def _lines(record: object) -> Iterator[str]:
    """Walks with a stack of its own: what could be decoded can be as deep as Python's."""
    waiting: list[tuple[str, object]] = [("", record)]
    while waiting:
        path, value = waiting.pop()
        match value:
            case dict():
                members = cast("dict[str, object]", value)
                waiting += [
                    (f"{path}.{key}" if path else key, item)
                    for key, item in reversed(members.items())
                ]
            case list():
                items = cast("list[object]", value)
                if any(isinstance(item, dict | list) for item in items):
                    waiting += [(path, item) for item in reversed(items)]
                elif items:
                    yield _line(path, ", ".join(map(_shown, items)))
            case _ if value is not None and value != "":
                yield _line(path, _shown(value))
            case _:
                pass


def _line(path: str, shown: str) -> str:
    shown = " ".join(shown.split())
    return f"{path}: {shown}" if path else shown


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
