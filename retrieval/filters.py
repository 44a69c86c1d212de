# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""Conditions on the attributes of files, as OpenAI's `filters`, to SQL. Pure.

A comparison with a value of another type than the attribute's is false. `ne` and `nin` are the
opposites of `eq` and `in`, so they are true of a file that has no such attribute.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from retrieval.errors import InvalidRequest

__all__ = ["All", "Attribute", "Comparison", "Filter", "OneOf", "condition", "kind_of", "parse"]

Attribute = str | float | bool
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]

DEEPEST = 32  # filters inside each other; also what keeps the SQL within SQLite's own limits
MOST_VALUES = 1000  # in one condition, all its comparisons together
MOST_COMPARISONS = 500
LONGEST_KEY = 64
LARGEST_INTEGER = 2**63  # of SQLite
_SYMBOLS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Comparison(NamedTuple):
    """An attribute against values: one, or for `in` and `nin` any number."""

    operator: Operator
    key: str
    values: tuple[Attribute, ...]


class All(NamedTuple):
    """True where every one is."""

    filters: "tuple[Filter, ...]"


class OneOf(NamedTuple):
    """True where at least one is."""

    filters: "tuple[Filter, ...]"


Filter = Comparison | All | OneOf


def parse(given: object, param: str = "filters") -> Filter:
    """A filter from decoded JSON. Raises InvalidRequest that names the place."""
    found = _parse(given, param, 1)
    comparisons, values = _size(found)
    if comparisons > MOST_COMPARISONS or values > MOST_VALUES:
        raise InvalidRequest(
            param,
            f"has {comparisons} comparisons and {values} values; at most {MOST_COMPARISONS} and"
            f" {MOST_VALUES} are taken",
        )
    return found


def condition(found: Filter) -> tuple[str, list[object]]:
    """SQL over the file in a store named `sf`, and its parameters in order."""
    match found:
        case Comparison():
            return _comparison(found)
        case All(filters) | OneOf(filters):
            parts = [condition(inner) for inner in filters]
            word = " AND " if isinstance(found, All) else " OR "
            sql = word.join(text for text, _ in parts)
            return f"({sql})", [value for _, values in parts for value in values]


def kind_of(value: Attribute) -> str:
    """How an attribute is stored: true is no number."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _parse(given: object, param: str, depth: int) -> Filter:
    if depth > DEEPEST:
        # The path would be as long as the nesting is deep.
        raise InvalidRequest(param.partition(".")[0], f"is nested deeper than {DEEPEST} levels")
    if not isinstance(given, Mapping):
        raise InvalidRequest(param, "must be an object")
    fields = cast("Mapping[str, object]", given)
    kind = fields.get("type")
    match kind:
        case "and" | "or":
            inner = fields.get("filters")
            if not isinstance(inner, list) or not inner:
                raise InvalidRequest(f"{param}.filters", "must be a list of at least one filter")
            parts = tuple(
                _parse(one, f"{param}.filters[{place}]", depth + 1)
                for place, one in enumerate(cast("list[object]", inner))
            )
            return All(parts) if kind == "and" else OneOf(parts)
        case "eq" | "ne" | "gt" | "gte" | "lt" | "lte" | "in" | "nin":
            return _parse_comparison(cast("Operator", kind), fields, param)
        case _:
            raise InvalidRequest(
                f"{param}.type", "must be one of eq, ne, gt, gte, lt, lte, in, nin, and, or"
            )


def _parse_comparison(operator: Operator, fields: Mapping[str, object], param: str) -> Comparison:
    key = fields.get("key")
    if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY or not _is_text(key):
        raise InvalidRequest(f"{param}.key", f"must be 1 to {LONGEST_KEY} characters of text")
    value = fields.get("value")
    place = f"{param}.value"
    if operator in ("in", "nin"):
        if not isinstance(value, list):
            raise InvalidRequest(place, f"must be a list for {operator}")
        values = cast("list[object]", value)
        return Comparison(operator, key, tuple(_attribute(v, place) for v in values))
    attribute = _attribute(value, place)
    if isinstance(attribute, bool) and operator in _SYMBOLS:
        raise InvalidRequest(place, f"must be a number or a string for {operator}")
    return Comparison(operator, key, (attribute,))


def _attribute(value: object, place: str) -> Attribute:
    if isinstance(value, str):
        if not _is_text(value):
            raise InvalidRequest(place, "must be text; it has half of a surrogate pair")
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if abs(value) < LARGEST_INTEGER:
            return value
        if abs(value) <= sys.float_info.max:
            return float(value)
        raise InvalidRequest(place, "must be a finite number that fits 64 bits")
    raise InvalidRequest(place, "must be a string, a number or a boolean")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _size(found: Filter) -> tuple[int, int]:
    match found:
        case Comparison():
            return 1, len(found.values)
        case All(filters) | OneOf(filters):
            sizes = [_size(inner) for inner in filters]
            return sum(size[0] for size in sizes), sum(size[1] for size in sizes)


def _comparison(found: Comparison) -> tuple[str, list[object]]:
    if symbol := _SYMBOLS.get(found.operator):
        (value,) = found.values
        test, values = f"a.kind = ? AND a.value {symbol} ?", [kind_of(value), value]
    else:
        test, values = _among(found.values)
    sql = (
        "EXISTS (SELECT 1 FROM file_attributes a WHERE a.store_file = sf.seq"
        f" AND a.key = ? AND {test})"
    )
    parameters: list[object] = [found.key, *values]
    return (f"NOT {sql}" if found.operator in ("ne", "nin") else sql), parameters


def _among(values: Sequence[Attribute]) -> tuple[str, list[Any]]:
    if not values:
        return "FALSE", []
    tests: list[str] = []
    parameters: list[Any] = []
    for kind in ("string", "number", "boolean"):
        same = [value for value in values if kind_of(value) == kind]
        if same:
            tests.append(f"a.kind = '{kind}' AND a.value IN ({', '.join('?' * len(same))})")
            parameters += same
    return f"({' OR '.join(tests)})", parameters
