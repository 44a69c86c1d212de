"""How many patterns one text must match at once. Pure.

llguidance looks for a text that all of them match, and each of them may double what that takes:
twenty are gigabytes and minutes, which nothing there ends.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

__all__ = ["MOST_TOGETHER", "patterns_together", "terminals_together"]

MOST_TOGETHER = 12

Schema = dict[str, Any]
# Texts, expressions and comments of Lark, in which an & is only a character.
QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?!/)(?:\\.|[^/\\\n])*/|//[^\n]*')


def terminals_together(lark: str) -> int:
    """At most so many of the expressions in a Lark grammar must match one text."""
    return QUOTED.sub("", lark).count("&") + 1


def patterns_together(schemas: Iterable[Schema], root: object) -> int:
    """The most patterns that these schemas, all of those in `root`, ask of one value.

    Raises RecursionError where references lead too far.
    """
    known: dict[int, int] = {}
    most = 0
    for schema in schemas:
        most = max(most, _asked(schema, root, known))
        named: dict[str, int] = {}
        for part in _parts(schema, root, set()):
            properties = part.get("properties")
            if isinstance(properties, dict):
                for name, value in cast("Schema", properties).items():
                    named[name] = named.get(name, 0) + _asked(value, root, known)
        most = max(most, *named.values(), 0)
    return most


def _asked(schema: object, root: object, known: dict[int, int]) -> int:
    """Patterns of the value itself; of alternatives, those of the worst."""
    if not isinstance(schema, dict):
        return 0
    said = cast("Schema", schema)
    if id(said) not in known:
        known[id(said)] = 0  # what refers to itself asks nothing new
        total = int("pattern" in said) + _asked(_target(said, root), root, known)
        total += sum(_asked(each, root, known) for each in _branches(said, "allOf"))
        for keyword in ("anyOf", "oneOf"):
            total += max((_asked(e, root, known) for e in _branches(said, keyword)), default=0)
        known[id(said)] = min(total, 10 * MOST_TOGETHER)
    return known[id(said)]


def _parts(schema: Schema, root: object, seen: set[int]) -> Iterator[Schema]:
    """The schema and all that holds together with it, each once."""
    if id(schema) in seen:
        return
    seen.add(id(schema))
    yield schema
    for each in [*_branches(schema, "allOf"), _target(schema, root)]:
        if isinstance(each, dict):
            yield from _parts(cast("Schema", each), root, seen)


def _branches(schema: Mapping[str, Any], keyword: str) -> list[object]:
    found = schema.get(keyword)
    return cast("list[object]", found) if isinstance(found, list) else []


def _target(schema: Mapping[str, Any], root: object) -> object:
    """What a `$ref` leads to, as far as it is followed here."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = cast("Schema", found).get(key) if isinstance(found, dict) else None
    return found
