"""Pieces of lists in the order of creation."""

import sqlite3
from collections.abc import Mapping

from retrieval.database import Database
from retrieval.errors import InvalidRequest
from retrieval.types import Cursor, Page

__all__ = ["read_page"]


def read_page(
    database: Database,
    select: str,
    parameters: Mapping[str, object],
    cursor: Cursor,
    *,
    seq: str,
    name: str,
    kind: str,
    scope: str,
) -> Page[sqlite3.Row]:
    """Rows of `select`, which ends in its WHERE, ordered by the column `seq`, which they have.

    `name` is the column that cursors are of; `kind` and `scope` are what deleted rows are
    remembered by. With `before` alone, the last ones before it. Raises InvalidRequest for "after"
    and "before".
    """
    tests: list[str] = []
    values = {**parameters, "limit": cursor.limit + 1}
    for param, given, later in (("after", cursor.after, True), ("before", cursor.before, False)):
        if given is not None:
            wanted = given.encode("utf-8", "replace").decode()
            found = database.query(
                f"{select} AND {name} = :wanted", {**parameters, "wanted": wanted}
            )
            place = found[0]["seq"] if found else database.departed(kind, scope, wanted)
            if place is None:
                raise InvalidRequest(param, f"'{wanted}' is not in this list")
            values[param] = place
            tests.append(f" AND {seq} {'<' if later == cursor.descending else '>'} :{param}")
    forward = cursor.before is None or cursor.after is not None
    down = cursor.descending == forward
    rows = database.query(
        f"{select}{''.join(tests)} ORDER BY {seq} {'DESC' if down else 'ASC'} LIMIT :limit", values
    )
    items = rows[: cursor.limit]
    return Page(
        items=items if forward else items[::-1],
        has_more=len(rows) > cursor.limit,
    )
