"""Whether sentences can say what a question asks for at all: a figure, a price, a negation. Pure.

What is asked for is told by how a question is put, in English; where that tells nothing, anything
can be its answer.
"""

import re
from collections.abc import Sequence

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
# What is measured, and the units that it is measured in.
MEASURED = tuple(
    (_any(asks), _any(says))
    for asks, says in (
        (
            r"\b(?:how much|what) (?:do|does|did|is|are|was|will|would)\b.{0,80}\bcosts?\b"
            r"|\bwhat (?:is|was) the price of\b",
            r"[£$€]\s?\d|\b(?:pounds?|dollars?|euros?|cents?|pence|francs?|yen|nothing)\b"
            r"|\bcharge\b|\b(?:is|are|for) free\b|\b(?:GBP|USD|EUR|CHF|JPY)\b",
        ),
        (r"\bhow loud\b|\bin decibels\b", r"\bd(?:eci)?b(?:els?)?\b|\bloud|\bquiet|\bsilent"),
        (
            r"\bhow heavy\b|\bhow much (?:do|does|did)\b.{0,80}\bweigh\b|\bin (?:kilo)?grams\b",
            r"\d\s?(?:kg|g|lbs?|t|oz)\b|\b(?:kilo)?gram|\bkilos?\b|\bounces?\b|\bpounds?\b|\btons?\b"
            r"|\btonnes?\b|\bheav|\blight",
        ),
        (r"\bin watt-?hours\b|\bhow many watt-?hours\b", r"\bwatt-?hours?\b|\bWh\b"),
        *(
            (rf"\bper {unit}\b", rf"(?:\bper|\ban?|\bevery|\beach|/) ?{unit[:3]}|ly\b")
            for unit in ("second", "minute", "hour", "day", "week", "month", "year")
        ),
    )
)


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
