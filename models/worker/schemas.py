"""JSON schemas made ready for llguidance: bounded, and rewritten where it would be too free. Pure.

llguidance compiles no `oneOf`. Where no value can match two of its branches it is the same as
`anyOf`, and it is rewritten; branches of objects are made so where that leaves something of each.
Else it stays, and is refused by name. `narrowing` says other keywords with those that there are.
"""

import json
import math
from collections import ChainMap
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any, cast
from urllib.parse import unquote

from models.errors import InvalidRequest
from models.worker.closing import close
from models.worker.conjunctions import MOST_TOGETHER, patterns_together
from models.worker.disjoint import Disjointness, properties, required
from models.worker.narrowing import choices_made_apart, narrowed
from models.worker.patterns import portable

__all__ = ["prepare"]

MAX_CHARACTERS = 128_000
MAX_PREPARED = 8 * MAX_CHARACTERS
MAX_DEPTH = 64
MAX_MULTIPLE = 100_000  # its automaton has so many states: seconds, beyond
MAX_NAMES = 1_000_000  # looked at where branches of a oneOf are told apart
MAX_BRANCHES = 200  # of a oneOf, each of which is compared with all others
# Keywords whose values are no schemas, whatever they look like.
VALUES = frozenset({"const", "enum", "default", "examples", "example"})
# Keywords whose values have a schema for each name, whatever the names look like.
MAPS = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
)

# llguidance's own dates have a 29th of February in every year; and Python's have no year 0.
YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
DATE = f"(?:{YEAR}-{DAY}|{LEAP}-02-29)"
PATTERNS = {"date": f"^{DATE}$", "date-time": f"^{DATE}[Tt]"}
# Of which 2.0 is as good a value as 2.
COUNTS = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)
# What says nothing without one of these beside it.
COMPANIONS = {
    "if": {"then", "else"},
    "then": {"if"},
    "else": {"if"},
    "minContains": {"contains"},
    "maxContains": {"contains"},
}

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
    if schema is True:
        return "{}"
    if schema is False:
        raise _refused("nothing satisfies 'false'")
    if isinstance(schema, dict) and "x-guidance" in schema:
        # llguidance's own switches; one of them has it ignore what it cannot do.
        raise _refused("'x-guidance' is not taken")
    root = cast("object", schema)
    given = list(_schemas(root))
    for each in given:
        _check_reference(each)
    _check_multiples([each["multipleOf"] for each in given if "multipleOf" in each])
    rewritten = _rewritten(root, Disjointness(root))
    for each in _schemas(rewritten):
        _check_least(each)
    _check_patterns(rewritten)
    prepared = json.dumps(rewritten, ensure_ascii=False)
    if len(prepared) > MAX_PREPARED:
        raise _refused("it is too large once 'if', 'not' and the like are written out")
    whole = json.loads(prepared)  # where what was rewritten once no longer stands in two places
    close(whole)
    return json.dumps(whole, ensure_ascii=False)


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


def _schemas(node: object) -> Iterator[Schema]:
    """Every schema in a node. What stands under a keyword that nobody knows may be referred to."""
    if isinstance(node, list):
        for item in cast("list[object]", node):
            yield from _schemas(item)
    elif isinstance(node, dict):
        schema = cast("Schema", node)
        yield schema
        for key, value in schema.items():
            if key in MAPS and isinstance(value, dict):
                yield from _schemas([*cast("Schema", value).values()])
            elif key not in VALUES:
                yield from _schemas(value)


def _rewritten(node: object, disjointness: Disjointness) -> object:
    if isinstance(node, list):
        return [_rewritten(item, disjointness) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    schema = narrowed(_plain(cast("Schema", node)))
    found: Schema = {key: _value(key, schema[key], disjointness) for key in schema}
    pattern = PATTERNS.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    others = found.get("allOf", [])
    if pattern is not None and isinstance(others, list):
        found["allOf"] = [*cast("list[object]", others), {"pattern": pattern}]
    branches = schema.get("oneOf")
    if isinstance(branches, list) and "anyOf" not in schema:
        more = _made_apart(schema, cast("list[object]", branches), disjointness)
        if more is not None:
            rewritten = cast("list[object]", found.pop("oneOf"))
            found["anyOf"] = [
                {"allOf": [branch, each]} if each else branch
                for branch, each in zip(rewritten, more, strict=True)
            ]
    return found


def _plain(schema: Schema) -> Schema:
    """The same without what says nothing, and its counts as whole numbers."""
    found: Schema = {}
    for key, value in schema.items():
        if key in COMPANIONS and not COMPANIONS[key] & schema.keys():
            continue
        whole = key in COUNTS and isinstance(value, float) and value.is_integer()
        found[key] = int(value) if whole else value
    return found


def _value(key: str, value: object, disjointness: Disjointness) -> object:
    """Of a keyword, rewritten as far as it is schemas."""
    if key in VALUES:
        return value
    if key == "pattern" and isinstance(value, str):
        return portable(value)
    if key in MAPS and isinstance(value, dict):
        named = cast("Schema", value)
        return {name: _rewritten(each, disjointness) for name, each in named.items()}
    return _rewritten(value, disjointness)


def _check_reference(schema: Schema) -> None:
    """Raise InvalidRequest for what leads to where nobody looked."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and not (
        _is_schema(reference) and _is_schema(unquote(reference))
    ):
        raise _refused(f"'$ref' to {reference[:100]!r} does not lead to a schema")


def _check_least(schema: Schema) -> None:
    """Raise InvalidRequest for what llguidance takes and does not do."""
    least = schema.get("minProperties")
    # Names that `properties` does not list may come twice, and one name twice is one property.
    if isinstance(least, (int, float)) and least > len(required(schema)) + 1:
        raise _refused(
            f"'minProperties' is {least}; at most one more than are in 'required' is taken"
        )


def _check_patterns(root: object) -> None:
    """Raise InvalidRequest where one text must match too many of them."""
    schemas = [*_schemas(root)]
    if sum("pattern" in each for each in schemas) <= MOST_TOGETHER:
        return
    try:
        together = patterns_together(schemas, root)
    except RecursionError:  # too long a chain of references to tell
        together = MOST_TOGETHER + 1
    if together > MOST_TOGETHER:
        raise _refused(
            f"one text must match more than {MOST_TOGETHER} of its 'pattern's at once ('allOf')"
        )


def _check_multiples(multiples: Sequence[object]) -> None:
    """Raise InvalidRequest where one needs too large an automaton, or may together with others.

    Which of them meet in one number is not looked into: a number of all of them bounds it.
    """
    common = Fraction(1)
    for each in multiples:
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not 0 < each < math.inf:
            continue  # the compiler says what is wrong with it
        multiple = Fraction(repr(each))
        if _states(multiple) > MAX_MULTIPLE:
            raise _refused(f"'multipleOf' is {repr(each)[:40]}; at most {MAX_MULTIPLE} is taken")
        common = Fraction(
            math.lcm(common.numerator, multiple.numerator),
            math.gcd(common.denominator, multiple.denominator),
        )
        if _states(common) > MAX_MULTIPLE:
            raise _refused(
                f"the values of 'multipleOf' have no common multiple up to {MAX_MULTIPLE}"
            )


def _states(multiple: Fraction) -> int:
    """How many remainders its automaton tells apart: 25 of 2.5, as of 25."""
    while multiple.denominator > 1:
        multiple *= 10
    return multiple.numerator


def _is_schema(reference: str) -> bool:
    """Whether what is referred to was looked at as one: values, and maps of schemas, were not."""
    pointer = reference.partition("#")[2]
    if not pointer.startswith("/"):  # the name of an anchor, which only a schema has
        return True
    in_map = False
    for part in pointer.split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not in_map and key in VALUES:
            return False
        in_map = not in_map and key in MAPS
    return not in_map


def _made_apart(
    parent: Schema, branches: Sequence[object], disjointness: Disjointness
) -> list[Schema] | None:
    """What to ask of each branch besides, so that no two match one value; None: not seen how."""
    if len(branches) > MAX_BRANCHES:
        raise _refused(f"'oneOf' has {len(branches)} branches; at most {MAX_BRANCHES} are taken")
    whole = [_within(parent, branch) for branch in branches]
    try:
        apart: set[tuple[int, int]] = set()
        small = _names(whole) * len(whole) ** 2 <= MAX_NAMES
        for one, other in combinations(range(len(whole)), 2):
            if disjointness.shown(whole[one], whole[other]):
                apart.add((one, other))
            elif not small:
                return None
    except RecursionError:  # branches that refer to themselves
        return None
    return choices_made_apart(
        [_within(parent, disjointness.resolved(branch)) for branch in branches],
        lambda one, other: (min(one, other), max(one, other)) in apart,
        disjointness.shown,
    )


def _names(wholes: Sequence[object]) -> int:
    """Most names that one of them lists."""
    schemas = [cast("Schema", whole) for whole in wholes if isinstance(whole, dict)]
    return max((len(required(each)) + len(properties(each)) for each in schemas), default=0)


def _within(parent: Schema, branch: object) -> object:
    """The branch with what its parent asks of every value beside it."""
    if not isinstance(branch, dict) or "$ref" in branch:
        return cast("object", branch)
    own = cast("Schema", branch)
    found: Schema = {key: parent[key] for key in ("type", "const", "enum") if key in parent} | own
    # A name that the parent knows counts as allowed, even if the branch bans all but its own.
    found["required"] = [*required(parent), *required(own)]
    # A view of both: a copy for each branch could take gigabytes.
    found["properties"] = ChainMap(properties(own), properties(parent))
    return found


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"The JSON schema cannot be used: {why}.", "response_format")
