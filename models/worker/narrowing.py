"""Keywords that llguidance has not, said with those that it has. Pure.

What comes out takes less than what was given where it must, and never more: whatever follows it
follows the given schema too. Where nothing, or next to nothing, would be left, the keyword stays
and is refused by its name.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

from models.worker.disjoint import ALL_TYPES, properties, required, types_of

__all__ = ["choices_made_apart", "narrowed"]

Schema = dict[str, Any]
MOST_CHOICES = 64  # of sets of names or of values that a keyword becomes
MOST_CHARACTERS = 500  # of the texts that a value must differ from
COMBINING = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas"})


def narrowed(schema: Schema) -> Schema:
    """The schema itself, not those in it, without the keywords that could be rewritten."""
    found = dict(schema)
    conditions: list[Schema] = []
    for keyword, rewrite in REWRITES.items():
        if keyword not in found:
            continue
        rewritten = rewrite(found)
        if rewritten is None:
            continue
        found = {key: found[key] for key in found if key not in ALONG.get(keyword, (keyword,))}
        conditions += rewritten
    if conditions and isinstance(found.get("allOf", []), list):
        return {**found, "allOf": [*found.get("allOf", []), *conditions]}
    return schema if conditions else found


def _conditional(schema: Schema) -> list[Schema] | None:
    """Both that and what follows from it, or its contrary and what follows from that."""
    condition, then, other = schema["if"], schema.get("then", {}), schema.get("else", {})
    contrary = _contrary(condition)
    if contrary is None:
        return None
    branches: list[Schema] = [
        {"allOf": [part for part in parts if part is not True]}
        for parts in ((condition, then), (contrary, other))
        if False not in parts
    ]
    return [{"anyOf": branches}] if branches else None


def _negation(schema: Schema) -> list[Schema] | None:
    contrary = _contrary(schema["not"])
    return None if contrary is None else [contrary]


def _contrary(schema: object) -> Schema | None:
    """What matches nothing that the schema matches; None where that is not seen."""
    if not isinstance(schema, dict):
        return None
    said = {key: value for key, value in cast("Schema", schema).items() if key not in SILENT}
    if said.keys() == {"anyOf"} and isinstance(said["anyOf"], list):
        parts = [_contrary(each) for each in cast("list[object]", said["anyOf"])]
        return None if None in parts or not parts else {"allOf": parts}
    if said.keys() == {"not"} and isinstance(said["not"], dict):
        return cast("Schema", said["not"])
    if said.keys() == {"type"}:
        others = sorted(ALL_TYPES - _kinds(said["type"]))
        return {"type": others} if others and "integer" not in json.dumps(said) else None
    if said and said.keys() <= {"type", "enum", "const"}:
        return _other_values(said)
    if said and said.keys() <= {"type", "properties", "required"}:
        return _other_object(said)
    return None


def _other_values(said: Schema) -> Schema | None:
    """Any text but these, and what is of another type than any of them."""
    values = said.get("enum", [said["const"]] if "const" in said else None)
    if not isinstance(values, list) or {"enum", "const"} <= said.keys():
        return None
    listed = cast("list[object]", values)
    texts = [value for value in listed if isinstance(value, str)]
    kinds = types_of({"enum": listed}) - {"string"}
    rest = sorted(ALL_TYPES - kinds - {"string"})
    text: Schema = {"type": "string"}
    if sum(map(len, texts)) > MOST_CHARACTERS:
        return None
    if texts:
        text["pattern"] = f"^({_none_of(sorted(set(texts)))})$"
    return {"anyOf": [text, *([{"type": rest}] if rest else [])]}


def _none_of(texts: Sequence[str]) -> str:
    """A regular expression of all texts but these, which are sorted."""
    firsts = sorted({text[0] for text in texts if text})
    branches: list[str] = [] if "" in texts else [""]
    branches += [
        _one(first) + f"({_none_of([text[1:] for text in texts if text[:1] == first])})"
        for first in firsts
    ]
    inside = "".join(map(_one, firsts))
    branches.append(rf"[^{inside}](.|\n)*" if firsts else r"(.|\n)+")
    return "|".join(branches)


def _one(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _other_object(said: Schema) -> Schema | None:
    """An object without one of the names, or with another value under one of them."""
    ways: list[Schema] = [
        {"type": "object", "properties": {name: False}} for name in required(said)
    ]
    for name, value in properties(said).items():
        contrary = _contrary(value)
        if contrary is not None:
            ways.append({"type": "object", "properties": {name: contrary}, "required": [name]})
    return {"anyOf": ways} if ways else None


def _dependent_names(schema: Schema) -> list[Schema] | None:
    found: list[Schema] = []
    given = schema["dependentRequired"]
    if not isinstance(given, dict):
        return None
    for name, needed in cast("Schema", given).items():
        if not isinstance(needed, list):
            return None
        found.append(_depends(name, {"required": [name, *cast("list[str]", needed)]}))
    return found


def _dependent_schemas(keyword: str) -> Callable[[Schema], list[Schema] | None]:
    def rewrite(schema: Schema) -> list[Schema] | None:
        given = schema[keyword]
        if not isinstance(given, dict):
            return None
        found: list[Schema] = []
        for name, each in cast("Schema", given).items():
            if isinstance(each, list):  # of an old draft
                each = {"required": cast("list[str]", each)}
            if not isinstance(each, dict):
                return None
            found.append(_depends(name, {"allOf": [{"required": [name]}, each]}))
        return found

    return rewrite


def _depends(name: str, then: Schema) -> Schema:
    return {"anyOf": [{"properties": {name: False}}, then]}


def _fewest(schema: Schema) -> list[Schema] | None:
    """So many of the listed properties at least, where some of them may be left out."""
    least, needed = schema["minProperties"], list(dict.fromkeys(required(schema)))
    optional = [name for name in properties(schema) if name not in needed]
    if isinstance(least, bool) or not isinstance(least, int):
        return None
    more = least - len(needed)
    if more <= 0:
        return []
    if more > len(optional):
        return None
    return _choices({"required": [*names]} for names in combinations(optional, more))


def _most(schema: Schema) -> list[Schema] | None:
    """So many of the listed properties at most, and no others."""
    most, needed = schema["maxProperties"], list(dict.fromkeys(required(schema)))
    listed = properties(schema)
    optional = [name for name in listed if name not in needed]
    if isinstance(most, bool) or not isinstance(most, int) or not optional:
        return None
    if len(needed) > most or any(name not in listed for name in needed):
        return None
    closed = _closed(schema)
    if most >= len(needed) + len(optional):
        return [closed]
    kept = combinations(optional, most - len(needed))
    choices = _choices(
        {"properties": {name: False for name in optional if name not in names}} for names in kept
    )
    return None if choices is None else [closed, *choices]


def _choices(branches: Iterator[Schema]) -> list[Schema] | None:
    found: list[Schema] = []
    for branch in branches:
        found.append(branch)
        if len(found) > MOST_CHOICES:
            return None
    return [{"anyOf": found}] if found else None


def _unique(schema: Schema) -> list[Schema] | None:
    """Some of a few values, in their order; or one at most."""
    if schema["uniqueItems"] is False or schema.get("maxItems") in (0, 1):
        return []
    items = schema.get("items")
    values = cast("Schema", items).get("enum") if isinstance(items, dict) else None
    if not isinstance(values, list) or not 0 < len(cast("list[object]", values)) <= 6:
        return None
    kept = [each for each in cast("list[object]", values) if isinstance(each, (str, type(None)))]
    kept = [*dict.fromkeys(kept)]
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(kept))
    if len(kept) != len(cast("list[object]", values)) or cast("Schema", items).keys() - PLAIN:
        return None
    lists = [
        [*some]
        for size in range(len(kept) + 1)
        if least <= size <= most
        for some in combinations(kept, size)
    ]
    others = sorted(ALL_TYPES - {"array"})
    return [{"anyOf": [{"enum": lists}, {"type": others}]}] if lists else None


def _unevaluated(schema: Schema) -> list[Schema] | None:
    """Where nothing is combined, what no keyword looked at is what is additional."""
    if schema["unevaluatedProperties"] is not False or schema.keys() & COMBINING:
        return None
    if schema.get("additionalProperties", False) is not False or "patternProperties" in schema:
        return None
    return [_closed(schema)]


def _closed(schema: Schema) -> Schema:
    """That nothing but its own properties may be there."""
    anything: Schema = {name: {} for name in properties(schema)}
    return {"properties": anything, "additionalProperties": False}


def choices_made_apart(
    wholes: Sequence[object],
    apart: Callable[[int, int], bool],
    differ: Callable[[object, object], bool],
) -> list[Schema] | None:
    """What to ask of each branch of a `oneOf` besides, so that no other branch matches too.

    Of objects, a name that another branch needs is banned, or one whose values differ is needed.
    None where some branch would have nothing left. `wholes` are the branches with what is asked
    beside them; `apart` says that two have nothing in common anyway, `differ` that of two schemas.
    """
    found: list[Schema] = []
    for at, one in enumerate(wholes):
        more: list[Schema] = []
        for other, rival in enumerate(wholes):
            if other == at or apart(at, other):
                continue
            way = _away(one, rival, differ)
            if way is None:
                return None
            more.append(way)
        found.append({"allOf": more} if more else {})
    return found


def _away(one: object, rival: object, differ: Callable[[object, object], bool]) -> Schema | None:
    if not isinstance(one, dict) or not isinstance(rival, dict):
        return None
    mine, theirs = cast("Schema", one), cast("Schema", rival)
    if "object" not in types_of(mine) or not (properties(mine) or required(mine)):
        return None
    shared = properties(theirs)
    for name, value in properties(mine).items():
        if name in shared and differ(value, shared[name]):
            return {"type": "object", "required": [name]}
    needed = {*map(str, required(mine))}
    names = [name for name in map(str, required(theirs)) if name not in needed]
    names.sort(key=lambda name: name in properties(mine))  # best one that is not asked about
    return {"type": "object", "properties": {names[0]: False}} if names else None


def _kinds(given: object) -> frozenset[str]:
    return types_of({"type": given})


SILENT = frozenset({"title", "description", "default", "examples", "$comment"})
PLAIN = SILENT | {"type", "enum"}
REWRITES: Mapping[str, Callable[[Schema], list[Schema] | None]] = {
    "if": _conditional,
    "not": _negation,
    "dependentRequired": _dependent_names,
    "dependentSchemas": _dependent_schemas("dependentSchemas"),
    "dependencies": _dependent_schemas("dependencies"),
    "minProperties": _fewest,
    "maxProperties": _most,
    "uniqueItems": _unique,
    "unevaluatedProperties": _unevaluated,
}
ALONG = {"if": ("if", "then", "else")}
