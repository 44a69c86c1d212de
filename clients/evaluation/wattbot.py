"""The scoring of one answer by the rules of the WattBot competition. Pure.

These rules are fixed by the competition and deliberately not the gateway's own idea of equal values
(`gateway/ensemble/values.py`): a score must be comparable with published ones.
"""

import functools
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import cast

__all__ = [
    "is_blank",
    "normalised",
    "oddities",
    "overlap",
    "ranked_references",
    "references",
    "value_right",
]

TOLERANCE = 1e-3  # relative and absolute

BLANKS = {"", "na", "n/a", "is_blank"}
BLANK_OPENING = "unable to answer with confidence based on the provided documents"
MAGNITUDES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
HEDGE = re.compile(
    r"(?:more\s+than|less\s+than|greater\s+than|fewer\s+than|approximately|about|around|over|under"
    r"|nearly|roughly|up\s+to|at\s+least|at\s+most)\s+|[~≈><]\s*",
    re.IGNORECASE,
)
MAGNITUDE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([KkMmBbTt])")
RANGE = re.compile(
    r"(?:from\s+)?(-?[\d.]+)\s*(?:[-–—]|to)\s*(-?[\d.]+)",
    re.IGNORECASE,
)
EXPONENT = re.compile(r"[eE]\+?\d{3}")
# All that may be odd beside a list, and more.
ODD = re.compile(r"\0|\bnan\b|[\d.]e\+?\d{3}", re.IGNORECASE)

Item = float | str


@functools.lru_cache(maxsize=65536)
def is_blank(value: str) -> bool:
    """Whether a value says that there is none."""
    text = value.strip().lower()
    return text in BLANKS or text.startswith(BLANK_OPENING)


@functools.lru_cache(maxsize=65536)
def normalised(value: str) -> str:
    """A submitted value in the form in which it is compared. Truths are taken as they are."""
    text = value.strip()
    if is_blank(text):
        return text
    if text.lower() in ("true", "yes"):
        return "1"
    if text.lower() in ("false", "no"):
        return "0"
    text = _without_commas(text)
    if hedge := HEDGE.match(text):
        text = _without_commas(text[hedge.end() :].strip())
    return _multiplied(text) or _range(text) or text


@functools.lru_cache(maxsize=65536)
def value_right(truth: str, value: str) -> bool:
    """Whether a submitted value is right. A blank truth is left to NA recall: always right."""
    if is_blank(truth):
        return True
    given = normalised(value)
    wanted, items = _collection(truth), _collection(given)
    if wanted is not None:
        if items is not None:
            return _same_items(wanted, items)
        number = _number(given)
        return number is not None and _within(wanted, number)
    number, other = _number(truth), _number(given)
    if number is not None and other is not None:
        return _close(number, other)
    return truth.strip().lower() == given.strip().lower()


@functools.lru_cache(maxsize=65536)
def references(text: str) -> frozenset[str]:
    """The ids in a bracketed list, or one plain id; lower-cased."""
    return frozenset(ranked_references(text))


def ranked_references(text: str) -> tuple[str, ...]:
    """The same in their order, each once."""
    inner = text.strip()
    if not inner:
        return ()
    items: Sequence[object] = [inner]
    if inner.startswith("["):
        items = _parsed(inner) or inner.removesuffix("]")[1:].split(",")
    ids = (str(item).strip().strip("'\"").strip().lower() for item in items)
    return tuple(dict.fromkeys(one for one in ids if one))


@functools.lru_cache(maxsize=65536)
def overlap(truth: str, given: str) -> float:
    """Jaccard overlap of two references: both empty 1, one empty 0."""
    a, b = references(truth), references(given)
    if not a and not b:
        return 1.0
    return len(a & b) / len(a | b)


def oddities(texts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The places of fields that cannot be compared as what they seem to be, and why not."""
    joined = "\n".join(texts)  # one search for most columns
    suspect = "\0" in joined or "nan" in joined.lower() or EXPONENT.search(joined) is not None
    if suspect or "[" in joined or "{" in joined:
        for place, text in enumerate(texts):
            if (suspect or "[" in text or "{" in text) and (odd := _oddity(text)):
                yield place, odd


@functools.lru_cache(maxsize=65536)
def _oddity(text: str) -> str:
    if "\0" in text:
        return "it has a NUL character"
    inner = text.strip()
    closing = {"[": "]", "{": "}"}.get(inner[:1])
    if closing is not None and not inner.endswith(closing):
        return "a list begins and does not end"
    if ODD.search(inner) is None:
        return ""
    numbers = [one for one in _collection(inner) or [_item(inner)] if isinstance(one, float)]
    if any(map(math.isnan, numbers)):
        return "NaN is equal to no number"
    # The word itself is a number that can be compared.
    endless = any(map(math.isinf, numbers)) and "inf" not in inner.lower()
    return "a number is too large" if endless else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _without_commas(text: str) -> str:
    plain = text.replace(",", "")
    return text if _number(plain) is None else plain


def _multiplied(text: str) -> str | None:
    found = MAGNITUDE.fullmatch(text)
    return _written(float(found[1]) * MAGNITUDES[found[2].lower()]) if found else None


def _range(text: str) -> str | None:
    found = RANGE.fullmatch(text)
    if found is None:
        return None
    ends = [_number(found[1]), _number(found[2])]
    known = sorted(end for end in ends if end is not None)
    return f"[{_written(known[0])},{_written(known[1])}]" if len(known) == len(ends) else None


def _written(number: float) -> str:
    whole = math.isfinite(number) and number.is_integer()
    return str(int(number)) if whole else str(number)


def _collection(text: str) -> list[Item] | None:
    """`[a, b]`: numbers or lower-cased texts; `{a, b}`: a set of terms; else None."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        items = _parsed(inner)
        if items is None:
            items = [part.strip() for part in inner[1:-1].split(",")]
        return [_item(str(item).strip()) for item in items]
    if inner.startswith("{") and inner.endswith("}"):
        return sorted({part.strip().lower() for part in inner[1:-1].split(",") if part.strip()})
    return None


def _item(text: str) -> Item:
    number = _number(text)
    return text.lower() if number is None else number


def _parsed(text: str) -> list[object] | None:
    """A list in JSON, or in Python's spelling with single quotes."""
    for spelling in (text, text.replace("'", '"')):
        try:
            found = json.loads(spelling)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list):
            return cast("list[object]", found)
    return None


def _numbers(items: list[Item]) -> list[float] | None:
    found = [item for item in items if isinstance(item, float)]
    return sorted(found) if len(found) == len(items) else None


def _same_items(wanted: list[Item], given: list[Item]) -> bool:
    """Equal whatever their order: numbers within the tolerance, else as texts."""
    a, b = _numbers(wanted), _numbers(given)
    if a is not None and b is not None:
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    return sorted(map(str, wanted)) == sorted(map(str, given))


def _within(wanted: list[Item], number: float) -> bool:
    """Two numbers are also a range that one number may fall in."""
    ends = _numbers(wanted)
    if ends is None or len(ends) != 2:
        return False
    return ends[0] - TOLERANCE <= number <= ends[1] + TOLERANCE
