"""Answers' values made comparable: "about 3.5k", "3,500" and "3500" are one value. Pure."""

import math
import re
import unicodedata
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from gateway.ensemble.wording import date, figures, items, plain

__all__ = [
    "NUMBER_WORDS",
    "TOLERANCE",
    "Value",
    "close",
    "is_blank",
    "normalise",
    "parse_number",
    "same_value",
    "unit_of",
]

TOLERANCE = 1e-3  # relative; see `close`

BLANKS = {"", "[]", "{}", "na", "n/a", "is_blank", "none", "null", "unknown", "not available"}
BLANK_OPENINGS = (
    "unable to answer",
    "the documents do not",
    "the passages do not",
    "not stated in",
)

DIGITS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBER_WORDS = {word: number for number, word in enumerate(DIGITS.split())}
MAGNITUDES = {
    "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "b": 1e9, "bn": 1e9, "T": 1e12,
    "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12,
}  # fmt: skip
MAGNITUDE_WORDS = ("thousand", "million", "billion", "trillion")
# Spellings of one unit. Units are compared, not converted.
UNITS = {
    spelling: names.split()[0]
    for names in (
        "% percent pct",
        "s sec secs second seconds",
        "ms millisecond milliseconds",
        "min mins minute minutes",
        "h hr hrs hour hours",
        "d day days",
        "week weeks",
        "month months",
        "yr year years",
        "mm millimetre millimetres millimeter millimeters",
        "cm centimetre centimetres centimeter centimeters",
        "m metre metres meter meters",
        "km kilometre kilometres kilometer kilometers",
        "g gram grams gramme grammes",
        "kg kilogram kilograms",
        "t tonne tonnes",
        "l litre litres liter liters",
        "kb kilobyte kilobytes",
        "mb megabyte megabytes",
        "gb gigabyte gigabytes",
        "tb terabyte terabytes",
        "hz hertz",
        "w watt watts",
        "kw kilowatt kilowatts",
        "kwh kilowatt-hour kilowatt-hours",
        "mw megawatt megawatts",
        "gw gigawatt gigawatts",
        "mwh megawatt-hour megawatt-hours",
        "gwh gigawatt-hour gigawatt-hours",
        "twh terawatt-hour terawatt-hours",
        "v volt volts",
        "amp amps ampere amperes",
        "°c celsius",
        "£ pound pounds gbp",
        "$ dollar dollars usd",
        "€ euro euros eur",
    )
    for spelling in names.split()
}
HEDGE = re.compile(
    r"^(?:more than|less than|greater than|fewer than|up to|at least|at most|no more than"
    r"|approximately|approx\.?|about|around|over|under|nearly|almost|roughly|exactly|circa|ca\."
    r"|within|after|for|in|by|is|are|was|were|it is|[~≈<>≤≥=])(?:\s+|(?<=[~≈<>≤≥=])|(?=[\d£$€]))",
    re.IGNORECASE,
)
# Nine groups of thousands at most: a longer row is a list, and slow to tell apart.
FIGURE = r"[+-]?(?:\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3}){1,8}|\d+)(?:\.\d+)?|[+-]?\.\d+"
POWER = r"(?:[eE][+-]?\d+|\s*[x×*]\s*10\s*\^?\s*[+-]?\d+)?"
NUMBER = re.compile(
    rf"^(?P<money>[£$€])?\s*(?P<figure>{FIGURE})(?P<power>{POWER})"
    r"(?P<magnitude>\s*(?:thousand|million|billion|trillion|bn)\b|[kKMBbT](?![\w°%]))?"
    r"\s*(?P<unit>.*)$",
    re.DOTALL,
)
RANGE = re.compile(
    rf"^(?:from\s+|between\s+|\[\s*)?(?P<low>[£$€]?(?:{FIGURE})(?:[kKMBbT%](?!\w))?)"
    rf"\s*(?:-|to|and|,)\s*(?P<high>[£$€]?(?:{FIGURE})(?:[kKMBbT](?!\w))?)(?P<unit>(?![\d.,-]).*?)\]?$"
)
SEPARATORS = re.compile(r"[^\d.+-]")
LEADING_ZERO = re.compile(r"[+-]?0\d")
UNIT = re.compile(r"(?:(?!\d)\w|[°%£$€])[^\d,;]*|")
DECADE = re.compile(r"(?:the )?((?:1[5-9]|20)\d0)['’]?s", re.IGNORECASE)
# In the commonest languages of the web, where the word has no other meaning in any of them.
YES = {"true", "yes", "ja", "oui", "sí", "sì", "да", "是", "是的", "はい", "예"}
NO = {"false", "no", "nein", "non", "não", "нет", "否", "不是", "いいえ", "아니요"}
OUTER = " \t\n.,;:!?\"'“”‘’`*_()"
HYPHEN = re.compile(r"(?<=[^\W\d_])(?<!\ba)(?<!\ban)(?<!\bthe)-(?=[^\W\d_])")
ABBREVIATION = re.compile(r"(?<=\w)\s*\([a-z][a-z0-9-]{1,7}\)?$")
ARTICLE = re.compile(r"\b(?:a|an|the)\s+(?=\S)")
AMOUNT = re.compile(r"[£$€]|[+-]?\.?\d")
ONE_ITEM = re.compile(r"[\[{][\s,;]*+([^,;\[\]{}]*)[\s,;]*+[\]}]")
DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))


class Value(Struct, frozen=True, order=True):
    """A value in canonical form. `text` says what a number cannot; units are canonical."""

    kind: Literal["blank", "number", "range", "text"]
    low: float = 0.0
    high: float = 0.0  # equals `low` except in a range
    unit: str = ""
    text: str = ""
    exact: bool = False  # an integer written out, such as a year or a count


def is_blank(value: str) -> bool:
    """Whether a value says that there is none."""
    text = " ".join(value.casefold().split()).strip(OUTER)
    return text in BLANKS or text.startswith(BLANK_OPENINGS)


@lru_cache(maxsize=1024)  # a vote is compared many times
def normalise(value: str, unit: str = "") -> Value:
    """The canonical form of a value, with the unit given beside it if it carries none itself."""
    if is_blank(value):
        return Value("blank")
    text = " ".join(unicodedata.normalize("NFKC", plain(value)).translate(DASHES).split())
    if one := ONE_ITEM.fullmatch(text.strip(OUTER)):
        text = one[1]
    text = _without_hedges(_stripped(text))
    if day := date(text):
        return Value("text", text=day)
    if decade := DECADE.fullmatch(text):
        return Value("text", text=f"{decade[1]}s")
    number = figures(text)
    return (
        _range(number, unit)
        or parse_number(number, unit)
        or Value("text", text=_words(text) or text.casefold())
    )


def _stripped(text: str) -> str:
    """Without what stands around a value; the point of ".5" is its own."""
    bare = text.strip(OUTER)
    at = text.find(bare)
    return f".{bare}" if bare[:1].isdigit() and text[:at].endswith(".") else bare


def parse_number(text: str, unit: str = "") -> Value | None:
    """A number with a unit of at most three words behind it, or None."""
    first, _, rest = text.partition(" ")
    if first.casefold() in NUMBER_WORDS:  # a passage's
        text = f"{NUMBER_WORDS[first.casefold()]} {rest}".strip()
    found = NUMBER.match(text)
    if found is None:
        return None
    figure, behind = found["figure"], found["unit"].strip()
    plain = SEPARATORS.sub("", figure)
    # "007", "01632 960140", "192.168.40.1" and "3-4-2" are names, not amounts.
    if LEADING_ZERO.match(plain) or not UNIT.fullmatch(behind):
        return None
    if len(behind.split()) > 3:
        return None
    after = text[found.end("figure") : found.end("figure") + 1]
    glued = found.end("magnitude") < 0 and (after.isalnum() or after == "_")
    if glued and behind.casefold() not in UNITS and not found["power"]:
        return None  # "802.11ac": letters right behind a number are a unit only if known as one
    number = float(plain) * _power(found["power"])
    magnitude = (found["magnitude"] or "").strip()
    if found["money"] and behind == "m":
        magnitude, behind = "M", ""  # no one pays by the metre
    if not magnitude and not behind and unit.casefold().startswith(MAGNITUDE_WORDS):
        magnitude, _, unit = unit.partition(" ")  # "2.5" with the unit "billion litres"
    number *= MAGNITUDES.get(magnitude, MAGNITUDES.get(magnitude.casefold(), 1.0))
    if not math.isfinite(number):
        return None
    own = found["money"] or behind
    exact = number.is_integer() and not magnitude and not found["power"] and "." not in figure
    return Value("number", number, number, unit_of(own or unit), exact=exact)


def unit_of(text: str) -> str:
    """A unit's canonical spelling; unknown ones are lower-cased, plural or not."""
    words = text.casefold().strip(OUTER).removeprefix("degrees ").removeprefix("us ").split()
    if not words:
        return ""
    head = UNITS.get(words[0])
    if head is not None:  # "seconds or more", "pounds a month"
        return head
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in words)


def close(a: Value, b: Value) -> bool:
    """Whether two numbers or ranges are equal but for rounding.

    Integers written out are equal or different: 2023 is not 2024, though they are within 1e-3.
    """
    if a.exact and b.exact:
        return a.low == b.low and a.high == b.high
    return _near(a.low, b.low) and _near(a.high, b.high)


def same_value(a: Value, b: Value) -> bool:
    """Whether two values say the same. Symmetric; a missing unit agrees with any."""
    if a.kind != b.kind:
        return False
    if a.kind in ("number", "range"):
        return close(a, b) and (a.unit == b.unit or not a.unit or not b.unit)
    return a.text == b.text


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _without_hedges(text: str) -> str:
    """Hedges are dropped before a number only: "In use" and "Up to date" keep their words."""
    rest = text
    while found := HEDGE.match(rest):
        rest = _stripped(rest[found.end() :])
    return rest if AMOUNT.match(figures(rest)) else text


def _range(text: str, unit: str) -> Value | None:
    found = RANGE.match(text)
    if found is None:
        return None
    low, high = parse_number(found["low"]), parse_number(found["high"])
    behind = found["unit"].strip()
    if low is None or high is None or low.low > high.low or len(behind.split()) > 3:
        return None
    if "," in text and not text.startswith("["):
        return None  # a list of two, not a range
    own = behind or low.unit or high.unit
    exact = low.exact and high.exact
    return Value("range", low.low, high.high, unit_of(own or unit), exact=exact)


def _power(text: str) -> float:
    if not text:
        return 1.0
    exponent = int(re.findall(r"[+-]?\d+", text)[-1])
    return 10.0**exponent if abs(exponent) <= 300 else math.inf


def _words(text: str) -> str:
    folded = text.casefold()
    if folded in YES:
        return "yes"
    if folded in NO:
        return "no"
    if found := items(folded):
        return ", ".join(sorted(item for item in map(_item, found) if item))
    return _term(folded)


def _term(folded: str) -> str:
    """A name: without its articles, its abbreviation in brackets and the hyphens between words."""
    name = ABBREVIATION.sub("", ARTICLE.sub("", folded))
    return " ".join(HYPHEN.sub(" ", name).split()).strip(OUTER)


def _item(folded: str) -> str:
    """An item of a list; numbers and dates in one spelling."""
    text = _without_hedges(_stripped(folded))
    if day := date(text):
        return day
    number = parse_number(figures(text))
    if number is None:
        return _term(text)
    figure = f"{number.low:.0f}" if number.low.is_integer() else f"{number.low:.6g}"
    return f"{figure} {number.unit}".strip()
