"""Votes on JSON in a client's own schema: whole, or field by field where fields are free. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from gateway.ensemble.ground import ground
from gateway.ensemble.prompt import Passage

__all__ = ["JsonOutcome", "canonical", "free_fields", "grounding", "vote_on_json"]

# What may tie one field of an object to another, or to the object as a whole.
TIES = (
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "const", "enum"),
    *("dependentRequired", "dependentSchemas", "dependencies", "minProperties", "maxProperties"),
    *("patternProperties", "propertyNames", "unevaluatedProperties"),
)


class JsonOutcome(Struct, frozen=True, kw_only=True):
    """The JSON that won. `winners` are places of the votes that agree with all of it, if any."""

    text: str
    winners: tuple[int, ...]
    agreement: float  # the least share of weight behind any field, 0..1
    explanation: str


def vote_on_json(texts: Sequence[str], weights: Sequence[float], schema: str) -> JsonOutcome:
    """The value with the most weight behind it; of equals, the one voted for first.

    Where the schema is a plain object whose fields do not depend on each other, each field is
    voted on by itself. Every text is JSON, and there is one at least.
    """
    values = [json.loads(text) for text in texts]
    fields = free_fields(json.loads(schema))
    if not fields or not all(isinstance(value, dict) for value in values):
        place, share = _most([canonical(value) for value in values], weights)
        winner = values[place]
        said = f"{share:.0%} of the votes' weight for the same JSON."
    else:
        winner, share, said = _by_field(fields, values, weights)
    wanted = canonical(winner)
    return JsonOutcome(
        text=json.dumps(winner, ensure_ascii=False, separators=(",", ":")),
        winners=tuple(at for at, value in enumerate(values) if canonical(value) == wanted),
        agreement=share,
        explanation=said,
    )


def free_fields(schema: Any) -> list[str]:
    """The fields of an object schema, if no part of it ties them to each other; else none."""
    if not isinstance(schema, dict) or any(key in schema for key in TIES):
        return []
    found = cast("Mapping[str, Any]", schema)
    properties = found.get("properties")
    closed = found.get("additionalProperties") is False
    if found.get("type") != "object" or not isinstance(properties, dict) or not closed:
        return []
    return list(cast("Mapping[str, Any]", properties))


def canonical(value: Any) -> str:
    """One spelling for equal JSON: keys in order, 1.0 as 1."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def grounding(text: str, passages: Sequence[Passage]) -> tuple[bool, tuple[int, ...]]:
    """Whether every word and figure of a JSON stands in a passage, and the numbers of those.

    Yes, no and null stand nowhere and need not.
    """
    cited: list[int] = []
    whole = True
    for leaf in _leaves(json.loads(text)):
        places = [p.n for p in passages if ground(leaf, p.hit.text)]
        whole = whole and bool(places)
        cited += places[:1]
    return whole and bool(cited), tuple(dict.fromkeys(cited))


def _by_field(
    fields: Sequence[str], values: Sequence[Mapping[str, Any]], weights: Sequence[float]
) -> tuple[dict[str, Any], float, str]:
    winner: dict[str, Any] = {}
    shares: dict[str, float] = {}
    for field in fields:
        said = [canonical(value[field]) if field in value else "" for value in values]
        place, shares[field] = _most(said, weights)
        if field in values[place]:
            winner[field] = values[place][field]
    least = min(shares, key=lambda field: shares[field])
    text = f"Each field by the most weight; the least agreed on is '{least}' ({shares[least]:.0%})."
    return winner, shares[least], text


def _most(said: Sequence[str], weights: Sequence[float]) -> tuple[int, float]:
    """The first place of what has the most weight behind it, and its share."""
    behind: dict[str, float] = {}
    for text, weight in zip(said, weights, strict=True):
        behind[text] = behind.get(text, 0.0) + weight
    total = sum(behind.values())
    best = max(behind.values())
    # Sums of the same weights in another order differ in the last bit: that is a tie, no lead.
    first = next(text for text, weight in behind.items() if weight >= best - 1e-9 * total)
    return said.index(first), min(1.0, best / total) if total else 0.0


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(k): _plain(v) for k, v in cast("Mapping[Any, Any]", value).items()}
        case list():
            return [_plain(each) for each in cast("list[Any]", value)]
        case float() if value.is_integer():
            return int(value)
        case str():
            return " ".join(value.split())
        case _:
            return value


def _leaves(value: Any) -> list[str]:
    match value:
        case dict():
            return [
                leaf for each in cast("Mapping[str, Any]", value).values() for leaf in _leaves(each)
            ]
        case list():
            return [leaf for each in cast("list[Any]", value) for leaf in _leaves(each)]
        case bool() | None:
            return []
        case str():
            return [value] if value.strip() else []
        case _:
            return [f"{value:g}" if isinstance(value, float) else str(value)]
