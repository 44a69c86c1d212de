"""Whether sentences can say what a question asks for at all: a figure, a price, a negation. Pure.

What is asked for is told by how a question is put, in English; where that tells nothing, anything
can be its answer.
"""

import re
from collections.abc import Iterator, Sequence

from gateway.ensemble.evidence import WORD, asked_about, expects_number
from gateway.ensemble.values import NUMBER_WORDS

__all__ = ["kind_held"]

LONGEST = 600  # characters of what is still one question


def _any(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


ASKS_YEAR = _any(r"\b(?:what|which) (?:year|date)s?\b")
# "What wasn't …", "Which of them can no longer …"; but "What if it doesn't …" asks for no negation,
# nor does what stands in a clause of its own.
ASKS_NEGATION = _any(
    r"\b(?:what|which|who|whom|whose|when|where|how (?:many|much))\b"
    r"(?:(?! (?:if|when|while|that|so|because|or|but|and|where|which|who)\b)[^,;:]){0,60}?"
    r" (?:(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|may|must|should)"
    r"(?:n['’]t| (?:not|never|no longer))|(?:can|ca|wo)n['’]?t|cannot)\b"
)
NEGATION = _any(
    r"\b(?:not|never|no|none|nobody|nothing|neither|nor|cannot|without|except|unable|lacks?"
    r"|fail(?:s|ed)?|refused?|prohibit(?:s|ed)?|un\w+)\b|n['’]t\b"
)
AMOUNT_WORDS = """
infinite infinitely several many few most all both half double once twice dozen dozens single pair
daily weekly monthly yearly annually hourly always
"""
AMOUNTS = NUMBER_WORDS.keys() | frozenset(AMOUNT_WORDS.split())
# What is measured: how it is asked for, its units, their signs behind a figure, and other words
# that speak of it. Asked for by a unit, any unit of the same will do.
QUANTITIES = (
    ("how loud", r"decibels?", r"dBA?", r"loud\w*|quiet\w*|silen\w*|noise"),
    (
        r"how heavy|how much (?:do|does|did)\b.{0,80}\bweigh",
        r"(?:kilo|milli)?grams?|kilos?|ounces?|tonnes?",
        r"kg|mg|g|lbs?|oz|t",
        r"pounds?|tons?|heav\w+|light\w*|weigh\w*",
    ),
    (
        "how hot|how cold",
        r"(?:degrees )?(?:celsius|fahrenheit|centigrade|kelvin)",
        r"° ?[CFK]?|K",
        r"degrees?|hot\w*|cold\w*|warm\w*",
    ),
    (
        "how tall|how wide|how thick",
        r"(?:centi|milli|kilo)?met(?:er|re)s?|inch(?:es)?|feet|miles?",
        r"mm|cm|km|m|in|ft|\"|'",
        r"foot|yards?|stor(?:e?ys?|ies)|tall\w*|wide\w*|thick\w*|high\w*|deep\w*|broad\w*",
    ),
    ("", r"(?:kilo)?watt-?hours?|joules?", r"k?Wh|k?J", ""),
    ("", r"(?:kilo|mega|giga)?watts?", r"[kMG]?W", ""),
    ("", r"(?:kilo)?volts?", r"k?V", ""),
    ("", r"(?:kilo|mega|giga|tera)(?:bytes?|bits?)", r"[KMGTk]i?[Bb]", ""),
)


def _measured() -> Iterator[tuple[re.Pattern[str], re.Pattern[str]]]:
    """How each quantity is asked for, and what a sentence has that may say it."""
    yield (
        _any(
            r"\b(?:how much|what) (?:do|does|did|is|are|was|will|would)\b.{0,80}\bcosts?\b"
            r"|\bwhat (?:is|was) the price of\b"
        ),
        _any(
            r"[£$€]\s?\d|\b(?:pounds?|dollars?|euros?|cents?|pence|francs?|yen|nothing)\b"
            r"|\bcharge\b|\b(?:is|are|for) free\b|\b(?:GBP|USD|EUR|CHF|JPY)\b"
        ),
    )
    for asked, units, signs, others in QUANTITIES:
        asks = rf"\b(?:in|how many) (?:{units})\b" + (rf"|\b(?:{asked})\b" if asked else "")
        says = rf"\b(?:{units})\b|\d\s?(?:{signs})(?!\w)"
        says += rf"|\b(?:{others})\b" if others else ""
        yield _any(asks), _any(says)
    for unit in ("second", "minute", "hour", "day", "week", "month", "year"):
        says = rf"(?:\bper|\ban?|\bevery|\beach|/) ?{unit[:3]}|ly\b"
        yield _any(rf"\bper {unit}\b"), _any(says)


MEASURED = tuple(_measured())


def kind_held(question: str, sentences: Sequence[str]) -> bool:
    """Whether one of the sentences has what the question asks for by its form."""
    if len(question) > LONGEST:
        return True
    text = "\n".join(sentences)
    if ASKS_NEGATION.search(question) and not NEGATION.search(text):
        return False
    if any(asks.search(question) and not says.search(text) for asks, says in MEASURED):
        return False
    if expects_number(question) or ASKS_YEAR.search(question):
        asked = asked_about(question)
        words = (word for word in WORD.findall(text) if not asked(word))
        return any(any(map(str.isdigit, w)) or w.casefold() in AMOUNTS for w in words)
    return True
