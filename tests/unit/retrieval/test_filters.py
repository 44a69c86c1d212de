"""Filters on attributes: what SQL finds is what they say."""

import operator
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from retrieval.filters import condition, kind_of, parse

KEYS = st.sampled_from(["a", "b", "ключ", "it's \"; --"])
VALUES = st.one_of(
    st.sampled_from(["x", "y", "Ä", "1", "true", "", "%"]),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([0.5, 1.0, -0.0, 1e300, 2**63, 2**53 + 1]),
)
ORDERED = st.one_of(st.sampled_from(["x", "y", "Ä"]), st.integers(-2, 3), st.floats(-3, 3))
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4)
COMPARISONS = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["eq", "ne"]), "key": KEYS, "value": VALUES}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["gt", "gte", "lt", "lte"]), "key": KEYS, "value": ORDERED}
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["in", "nin"]),
            "key": KEYS,
            "value": st.lists(VALUES, max_size=4),
        }
    ),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=8,
)


def holds(found: dict[str, Any], attributes: dict[str, Any]) -> bool:
    match found["type"]:
        case "and":
            return all(holds(inner, attributes) for inner in found["filters"])
        case "or":
            return any(holds(inner, attributes) for inner in found["filters"])
        case "in" | "nin" as kind:
            among = any(same(attributes.get(found["key"]), value) for value in found["value"])
            return among == (kind == "in")
        case "eq" | "ne" as kind:
            return same(attributes.get(found["key"]), found["value"]) == (kind == "eq")
        case kind:
            given, value = attributes.get(found["key"]), found["value"]
            if given is None or kind_of(given) != kind_of(value):
                return False
            compare = {"gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}[kind]
            return getattr(operator, compare)(given, value)


def same(given: Any, value: Any) -> bool:
    return given is not None and kind_of(given) == kind_of(value) and given == value


@given(FILTERS, st.lists(ATTRIBUTES, max_size=5))
@settings(deadline=None, max_examples=200)
def test_sql_finds_what_the_filter_says(found: dict[str, Any], files: list[dict[str, Any]]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE sf (seq INTEGER PRIMARY KEY)")
    connection.execute(
        "CREATE TABLE file_attributes (store_file INTEGER, key TEXT, kind TEXT, value ANY) STRICT"
    )
    for seq, attributes in enumerate(files):
        connection.execute("INSERT INTO sf VALUES (?)", (seq,))
        for key, value in attributes.items():
            stored = float(value) if value == 2**63 else value
            row = (seq, key, kind_of(value), stored)
            connection.execute("INSERT INTO file_attributes VALUES (?, ?, ?, ?)", row)
    sql, values = condition(parse(found))
    rows = connection.execute(f"SELECT seq FROM sf WHERE {sql} ORDER BY seq", values).fetchall()
    connection.close()
    assert [row[0] for row in rows] == [
        seq for seq, attributes in enumerate(files) if holds(found, attributes)
    ]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "filters"),
        ([], "filters"),
        ({}, "filters.type"),
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"type": ["eq"], "key": "a", "value": "b"}, "filters.type"),
        ({"type": "eq", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "k" * 65, "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "\ud800", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "a", "value": None}, "filters.value"),
        ({"type": "eq", "key": "a", "value": ["b"]}, "filters.value"),
        ({"type": "eq", "key": "a", "value": "\ud800"}, "filters.value"),
        ({"type": "eq", "key": "a", "value": 10**400}, "filters.value"),
        ({"type": "eq", "key": "a", "value": float("inf")}, "filters.value"),
        ({"type": "gt", "key": "a", "value": True}, "filters.value"),
        ({"type": "in", "key": "a", "value": "b"}, "filters.value"),
        ({"type": "in", "key": "a", "value": list(range(1001))}, "filters"),
        ({"type": "and", "filters": {}}, "filters.filters"),
        ({"type": "or", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [{"type": "eq"}]}, "filters.filters[0].key"),
        ({"type": "or", "filters": [{"type": "eq", "key": "a", "value": 1}] * 501}, "filters"),
    ],
)
def test_what_is_no_filter_is_named(given: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(given)
    assert caught.value.param == param


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "eq", "key": "a", "value": 1}
    for _ in range(depth - 1):
        found = {"type": "and", "filters": [found]}
    return found


@pytest.mark.parametrize("depth", [33, 1000, 100_000])
def test_filters_nested_too_deeply_are_refused(depth: int) -> None:
    with pytest.raises(InvalidRequest, match="nested deeper than 32") as caught:
        parse(nested(depth))
    assert caught.value.param == "filters"


def test_the_largest_filters_are_within_what_sqlite_takes() -> None:
    one = {"type": "in", "key": "a", "value": [1, "x"]}
    widest = parse({"type": "or", "filters": [one] * 500})
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE sf (seq INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE file_attributes (store_file, key, kind, value)")
    for found in (widest, parse(nested(32))):
        sql, values = condition(found)
        assert connection.execute(f"SELECT seq FROM sf WHERE {sql}", values).fetchall() == []
    connection.close()
