"""Objects that list their properties are taken to be whole: nobody else's names are written. Pure.

JSON Schema leaves objects open, and a small model that may write any name goes on until its answer
is cut off. What follows the closed schema follows the given one too. But where several schemas
hold for one object, closing one would ban what another needs: those stay as they are.
"""

from collections.abc import Iterator
from typing import Any, cast

__all__ = ["close", "conjoined"]

Schema = dict[str, Any]
# Keywords that have several schemas hold for one value.
COMBINING = frozenset({"allOf", "anyOf", "oneOf", "$ref"})
# With one of these an object says itself what else there may or must be in it.
SAYING = frozenset(
    {
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "minProperties",
        "const",
        "enum",
        "not",
        "if",
        "then",
        "else",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
    }
)
# What speaks of an object's or a list's parts: beside a combination both do.
TOUCHING = SAYING | {
    "properties",
    "required",
    "maxProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
}


def close(root: object) -> None:
    """Add `additionalProperties: false` within a schema where it leaves what was asked possible.

    No part of it may stand in two places. A required name that is not listed is listed.
    """
    places = _places(root)
    for schema in [] if places is None else places[0]:
        listed = schema.get("properties")
        if not isinstance(listed, dict) or not listed or schema.keys() & (SAYING | COMBINING):
            continue
        needed = schema.get("required")
        for name in cast("list[object]", needed) if isinstance(needed, list) else []:
            if isinstance(name, str):
                cast("Schema", listed).setdefault(name, {})
        schema["additionalProperties"] = False


def conjoined(root: object) -> bool:
    """Whether several schemas may hold for one value."""
    places = _places(root)
    return places is None or bool(places[1])


def _places(root: object) -> tuple[list[Schema], set[int]] | None:
    """The schemas whose values need follow no other one, and the ids of those that may have to.

    None if it is not seen what a reference leads to.
    """
    alone: dict[int, Schema] = {}
    together: set[int] = set()
    waiting: list[tuple[object, bool]] = [(root, True)]
    while waiting:
        node, by_itself = waiting.pop()
        if not isinstance(node, dict):
            continue
        schema = cast("Schema", node)
        if id(schema) in together or (by_itself and id(schema) in alone):
            continue
        if by_itself:
            alone[id(schema)] = schema
        else:
            together.add(id(schema))
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found, target = _target(root, reference)
            if not found:
                return None
            waiting.append((target, by_itself and _is_only(schema)))
        waiting += ((each, by_itself and _is_only(schema)) for each in _branches(schema))
        waiting += ((each, by_itself and not schema.keys() & COMBINING) for each in _parts(schema))
        waiting += ((each, False) for each in _others(schema))
    return [schema for key, schema in alone.items() if key not in together], together


def _is_only(schema: Schema) -> bool:
    """Whether all that is said of a value's parts is one combination, of which one branch holds."""
    combining = schema.keys() & COMBINING
    several = "allOf" in combining and len(list(_branches(schema))) > 1
    return len(combining) == 1 and not several and not schema.keys() & TOUCHING


def _branches(schema: Schema) -> Iterator[object]:
    """What may hold for the value itself."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        found = schema.get(keyword)
        if isinstance(found, list):
            yield from cast("list[object]", found)


def _parts(schema: Schema) -> Iterator[object]:
    """What holds for a part of the value that no other keyword here speaks of."""
    for keyword in ("items", "prefixItems"):
        found = schema.get(keyword)
        yield from cast("list[object]", found) if isinstance(found, list) else [found]
    if "patternProperties" not in schema:
        yield from _named(schema, "properties")
        yield schema.get("additionalProperties")


def _others(schema: Schema) -> Iterator[object]:
    """What may hold for the value, or a part of it, beside others."""
    for keyword in ("not", "if", "then", "else", "contains", "unevaluatedProperties"):
        yield schema.get(keyword)
    for keyword in ("patternProperties", "dependentSchemas", "dependencies"):
        yield from _named(schema, keyword)
    if "patternProperties" in schema:
        yield from _named(schema, "properties")
        yield schema.get("additionalProperties")


def _named(schema: Schema, keyword: str) -> Iterator[object]:
    found = schema.get(keyword)
    if isinstance(found, dict):
        yield from cast("Schema", found).values()


def _target(root: object, reference: str) -> tuple[bool, object]:
    """Whether it is seen what a reference leads to, and what that is."""
    if reference != "#" and not reference.startswith("#/"):
        return False, None
    found = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = cast("Schema", found)[key]
        elif isinstance(found, list) and key in map(str, range(len(cast("list[object]", found)))):
            found = cast("list[object]", found)[int(key)]
        else:
            return False, None
    return True, found
