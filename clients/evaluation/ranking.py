"""How good an order of documents or passages is. Pure."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import cast

from clients.evaluation.wattbot import is_blank, references

__all__ = ["answers_of", "discounted_gain", "has_text", "has_whole", "recall", "reciprocal_rank"]


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


def has_text(text: str, answer: str) -> bool:
    """Whether a passage has the text of an answer, case, commas and blanks aside.

    Of a bracketed list it has every item. A short number may be a part of a longer one.
    """
    return _has(text, answer, whole=False)


def has_whole(text: str, answer: str) -> bool:
    """As `has_text`, but not as a part of a longer number or word."""
    return _has(text, answer, whole=True)


def _has(text: str, answer: str, *, whole: bool) -> bool:
    given = _plain(text)
    items = references(answer) if answer.startswith(("[", "{")) else [answer]
    return bool(items) and all(_stands(given, _plain(item), whole=whole) for item in items)


def _stands(text: str, item: str, *, whole: bool) -> bool:
    if not whole or not item:
        return bool(item) and item in text
    before = r"(?<![\d.])" if item[0].isdigit() else r"(?<![^\W\d_])" if item[0].isalpha() else ""
    after = r"(?!\.?\d)" if item[-1].isdigit() else r"(?![^\W\d_])" if item[-1].isalpha() else ""
    return re.search(before + re.escape(item) + after, text) is not None


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace(",", "").split())
