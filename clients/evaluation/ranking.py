"""How good an order of documents or passages is. Pure."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import cast

from clients.evaluation.wattbot import is_blank, references

__all__ = ["answers_of", "discounted_gain", "holds", "recall", "reciprocal_rank"]

_TOLERANCE = 1e-6
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?!\w)")
_WORD = re.compile(r"\w+")


def discounted_gain(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """nDCG@k: `relevant` has the gain of each document that is; linear gains, as trec_eval's."""
    gained = sum(
        relevant.get(document, 0.0) / math.log2(place + 2)
        for place, document in enumerate(ranked[:k])
    )
    best = sorted((gain for gain in relevant.values() if gain > 0), reverse=True)[:k]
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(best))
    return gained / ideal if ideal else 0.0


def recall(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """The share of the relevant documents that are among the first k."""
    wanted = {document for document, gain in relevant.items() if gain > 0}
    return len(wanted.intersection(ranked[:k])) / len(wanted) if wanted else 0.0


def reciprocal_rank(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """One over the place of the first relevant document among the first k; else 0."""
    places = (place for place, one in enumerate(ranked[:k], 1) if relevant.get(one, 0.0) > 0)
    return 1 / next(places, math.inf)


def answers_of(field: str) -> list[str]:
    """What a field of a question's answer says: several answers of which one will do, or none.

    A JSON list of texts is several answers (SQuAD); everything else is one, a range or a list of
    numbers too (WattBot).
    """
    text = field.strip()
    try:
        found = json.loads(text) if text.startswith("[") else None
    except ValueError:
        found = None
    if isinstance(found, list):
        items = cast("list[object]", found)
        if all(isinstance(item, str) for item in items):
            return [str(item) for item in items]
    return [] if is_blank(text) else [text]


def holds(text: str, answer: str) -> bool:
    """Whether a passage has the text of an answer.

    A number stands there as a number of the same value, thousands commas aside; of a bracketed
    list all items do; words stand there in their order, case and marks aside.
    """
    if answer.startswith(("[", "{")):
        items = references(answer)
        return bool(items) and all(holds(text, item) for item in items)
    number = _value(answer)
    if number is not None:
        return any(
            math.isclose(number, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE**2)
            for value in (_value(found) for found in _NUMBER.findall(text))
            if value is not None
        )
    words = " ".join(_WORD.findall(answer.casefold()))
    if not words:
        return " ".join(answer.split()) in " ".join(text.split())
    return f" {words} " in f" {' '.join(_WORD.findall(text.casefold()))} "


def _value(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
