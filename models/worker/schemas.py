"""JSON schemas made ready for llguidance: bounded, and `oneOf` where it means `anyOf`. Pure.

llguidance compiles no `oneOf`. Where no value can match two of its branches it is the same as
`anyOf`, and it is rewritten; where that cannot be shown it stays, and is refused by name.
"""

import json
from itertools import combinations
from typing import Any, cast

from models.errors import InvalidRequest

__all__ = ["prepare"]

MAX_CHARACTERS = 128_000
MAX_DEPTH = 64
MAX_MULTIPLE = 100_000  # its automaton has so many states: seconds, beyond
REFERENCES = 16  # followed in a row, so that a circle of them ends

Schema = dict[str, Any]


def prepare(text: str) -> str:
    """The schema, checked and rewritten. Raises InvalidRequest that names what is too much."""
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"it has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    if _depth(text) > MAX_DEPTH:
        raise _refused(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        schema: object = json.loads(text)
    except ValueError as error:
        raise _refused(f"it is not JSON: {error}") from error
    if '"multipleOf"' not in text and '"oneOf"' not in text:
        return text
    return json.dumps(_rewritten(schema, schema), ensure_ascii=False)


def _depth(text: str) -> int:
    """Of brackets outside of strings, without recursion."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _rewritten(node: object, root: object) -> object:
    if isinstance(node, list):
        return [_rewritten(item, root) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    schema = cast("Schema", node)
    multiple = schema.get("multipleOf")
    if isinstance(multiple, (int, float)) and multiple > MAX_MULTIPLE:
        raise _refused(f"'multipleOf' is {multiple}; at most {MAX_MULTIPLE} is taken")
    found: Schema = {key: _rewritten(value, root) for key, value in schema.items()}
    branches = schema.get("oneOf")
    if isinstance(branches, list) and "anyOf" not in schema:
        whole = [_within(schema, branch) for branch in cast("list[object]", branches)]
        pairs = combinations(whole, 2)
        if all(_disjoint(one, other, root) for one, other in pairs):
            found["anyOf"] = found.pop("oneOf")
    return found


def _disjoint(one: object, other: object, root: object) -> bool:
    """Whether it is certain that no value matches both."""
    one, other = _resolved(one, root), _resolved(other, root)
    if one is False or other is False:
        return True
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    a, b = cast("Schema", one), cast("Schema", other)
    for first, second in ((a, b), (b, a)):
        for key in ("anyOf", "oneOf"):
            branches = first.get(key)
            if isinstance(branches, list) and all(
                _disjoint(branch, second, root) for branch in cast("list[object]", branches)
            ):
                return True
    return (
        not _types(a) & _types(b)
        or _apart(_values(a), _values(b))
        or _lengths_apart(a, b)
        or _properties_apart(a, b, root)
    )


def _within(parent: Schema, branch: object) -> object:
    """The branch with what its parent asks of every value beside it."""
    if not isinstance(branch, dict) or "$ref" in branch:
        return cast("object", branch)
    own = cast("Schema", branch)
    found: Schema = {key: parent[key] for key in ("type", "const", "enum") if key in parent} | own
    # A name that the parent knows counts as allowed, even if the branch bans all but its own.
    found["required"] = [*_required(parent), *_required(own)]
    found["properties"] = _properties(parent) | _properties(own)
    return found


def _required(schema: Schema) -> list[str]:
    found = schema.get("required")
    return cast("list[str]", found) if isinstance(found, list) else []


def _properties(schema: Schema) -> Schema:
    found = schema.get("properties")
    return cast("Schema", found) if isinstance(found, dict) else {}


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


def _types(schema: Schema) -> frozenset[str]:
    """Types a value may have; integers are numbers."""
    values = _values(schema)
    if values is not None:
        return frozenset(kind for kind, _ in values)
    given = schema.get("type", list(ALL_TYPES))
    names = cast("list[object]", given if isinstance(given, list) else [given])
    return frozenset("number" if name == "integer" else str(name) for name in names)


def _values(schema: Schema) -> frozenset[tuple[str, str]] | None:
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


def _apart(
    one: frozenset[tuple[str, str]] | None, other: frozenset[tuple[str, str]] | None
) -> bool:
    return one is not None and other is not None and not one & other


def _lengths_apart(a: Schema, b: Schema) -> bool:
    """Of two that allow one and the same type only: bounds that leave nothing in common."""
    if len(_types(a) | _types(b)) != 1:
        return False
    (kind,) = _types(a)
    low, high = {
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
        "number": ("minimum", "maximum"),
    }.get(kind, ("", ""))
    return any(
        _number(first.get(high)) < _number(second.get(low))
        for first, second in ((a, b), (b, a))
        if isinstance(first.get(high), (int, float)) and isinstance(second.get(low), (int, float))
    )


def _number(value: Any) -> float:
    return float(value)


def _properties_apart(a: Schema, b: Schema, root: object) -> bool:
    """Of two that allow objects only: a property that both need, or that one needs and one bans."""
    if _types(a) | _types(b) != frozenset({"object"}):
        return False
    properties = [_properties(a), _properties(b)]
    required = [set(map(str, _required(a))), set(map(str, _required(b)))]
    for number, other in ((0, 1), (1, 0)):
        banned = required[number] - properties[other].keys()
        closed = (a, b)[other].get("additionalProperties") is False
        if banned and closed and "patternProperties" not in (a, b)[other]:
            return True
    return any(
        _disjoint(properties[0][name], properties[1][name], root)
        for name in required[0] & required[1]
        if name in properties[0] and name in properties[1]
    )


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"The JSON schema cannot be used: {why}.", "response_format")
