"""Whether two JSON schemas can have a value in common. Pure."""

import re
from collections.abc import MutableMapping
from typing import Any, cast

__all__ = ["ALL_TYPES", "Disjointness", "properties", "required", "types_of"]

REFERENCES = 16  # followed in a row, so that a circle of them ends
MAX_WORK = 1_000_000  # of all comparisons: half a second
COMPARISON = 20  # of this work, and one for each value and name to be looked at

# A beginning of single characters and brackets, which is matched in no time.
SIMPLE = re.compile(r"\^(?:\[\^?[^\[\]\\^&~|-]+\]|[A-Za-z0-9_:-])*")

Schema = dict[str, Any]
Values = frozenset[tuple[str, str]]  # types and values


class Disjointness:
    """Comparisons within one schema, whose references they follow: so much, then none is shown.

    Branches can refer to branches that refer to branches, and each to names by the thousand:
    without a bound it takes for ever.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._left = MAX_WORK

    def resolved(self, node: object) -> object:
        """What a node's references lead to; True, which anything matches, where none is seen."""
        return _resolved(node, self._root)

    def shown(self, one: object, other: object) -> bool:
        """Whether it is certain that no value matches both."""
        self._left -= COMPARISON
        if self._left < 0:
            return False
        one, other = self.resolved(one), self.resolved(other)
        if one is False or other is False:
            return True
        if not isinstance(one, dict) or not isinstance(other, dict):
            return False
        a, b = cast("Schema", one), cast("Schema", other)
        self._left -= _size(a) + _size(b)
        if self._left < 0:
            return False
        for first, second in ((a, b), (b, a)):
            for key in ("anyOf", "oneOf"):
                branches = first.get(key)
                if isinstance(branches, list) and all(
                    self.shown(branch, second) for branch in cast("list[object]", branches)
                ):
                    return True
        values = _values(a), _values(b)
        if any(_banned(first, second) for first, second in ((a, b), (b, a))):
            return True
        types = _types(a, values[0]), _types(b, values[1])
        if not types[0] & types[1] or _apart(*values):
            return True
        if len(types[0] | types[1]) != 1:
            return False
        (kind,) = types[0]
        return self._properties_apart(a, b) if kind == "object" else _lengths_apart(a, b, kind)

    def _properties_apart(self, a: Schema, b: Schema) -> bool:
        """Of objects: a property that both need, or that one needs and the other bans."""
        known = [properties(a), properties(b)]
        needed = [set(map(str, required(a))), set(map(str, required(b)))]
        for number, other in ((0, 1), (1, 0)):
            unknown = [name for name in needed[number] if name not in known[other]]
            patterns = (a, b)[other].get("patternProperties", {})
            closed = (a, b)[other].get("additionalProperties") is False
            if closed and any(_matches_none(name, patterns) for name in unknown):
                return True
        return any(
            self.shown(known[0][name], known[1][name])
            for name in needed[0] & needed[1]
            if name in known[0] and name in known[1]
        )


def _matches_none(name: str, patterns: object) -> bool:
    """Whether it is certain that none of the patterns matches the name."""
    if not isinstance(patterns, dict):
        return False
    return all(
        SIMPLE.fullmatch(each) is not None and re.match(each[1:], name) is None
        for each in cast("Schema", patterns)
    )


def required(schema: Schema) -> list[str]:
    """Names that an object must have; none where that is no list."""
    found = schema.get("required")
    return cast("list[str]", found) if isinstance(found, list) else []


def properties(schema: Schema) -> MutableMapping[str, Any]:
    """What is said of each name; nothing where that is no object."""
    found = schema.get("properties")
    return cast("MutableMapping[str, Any]", found) if isinstance(found, MutableMapping) else {}


def _size(schema: Schema) -> int:
    """How many values and names there are to look at."""
    values = schema.get("enum")
    count = len(cast("list[object]", values)) if isinstance(values, list) else 0
    return count + len(required(schema))


def _resolved(node: object, root: object) -> object:
    for _ in range(REFERENCES):
        if not isinstance(node, dict) or "$ref" not in node:
            return cast("object", node)
        reference = cast("Schema", node)["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return True
        found = root
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                return True
            found = cast("Schema", found)[key]
        node = found
    return True  # anything may match it


ALL_TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})


def types_of(schema: Schema) -> frozenset[str]:
    """Types that a value of it may have; integers are numbers."""
    return _types(schema, _values(schema))


def _types(schema: Schema, values: Values | None) -> frozenset[str]:
    """Types a value may have, of `values` if these are all; integers are numbers."""
    if values is not None:
        return frozenset(kind for kind, _ in values)
    given = schema.get("type", list(ALL_TYPES))
    names = cast("list[object]", given if isinstance(given, list) else [given])
    return frozenset("number" if name == "integer" else str(name) for name in names)


def _values(schema: Schema) -> Values | None:
    """The values a `const` or `enum` allows, with their types, or None for any."""
    if "const" in schema:
        return frozenset({_canonical(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(_canonical(value) for value in schema["enum"])
    return None


def _canonical(value: Any) -> tuple[str, str]:
    match value:
        case None:
            return "null", ""
        case bool():
            return "boolean", str(value)
        case int() | float():
            whole = isinstance(value, int) or value.is_integer()  # 1 and 1.0 are equal
            return "number", str(int(value)) if whole else repr(value)
        case str():
            return "string", value
        case list():
            return "array", ""
        case _:
            return "object", ""  # taken for equal: two of them are never shown to differ


def _banned(schema: Schema, other: Schema) -> bool:
    """Whether every value that the first has is one of those that the other does not want."""
    values, unwanted = _values(schema), other.get("not")
    if values is None or not isinstance(unwanted, dict) or unwanted.keys() - {"type", "enum"}:
        return False
    banned = cast("Schema", unwanted)
    known = _values(banned)
    kinds = _types({"type": banned["type"]}, None) if "type" in banned else ALL_TYPES
    return known is not None and values <= {each for each in known if each[0] in kinds}


def _apart(one: Values | None, other: Values | None) -> bool:
    return one is not None and other is not None and not one & other


def _lengths_apart(a: Schema, b: Schema, kind: str) -> bool:
    """Of two that allow this type only: bounds that leave nothing in common."""
    low, high = {
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
        "number": ("minimum", "maximum"),
    }.get(kind, ("", ""))
    return any(
        first[high] < second[low]
        for first, second in ((a, b), (b, a))
        if isinstance(first.get(high), (int, float)) and isinstance(second.get(low), (int, float))
    )
