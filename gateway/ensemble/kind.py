"""Whether sentences can say what a question asks for at all: a figure, a price, a negation. Pure.

What is asked for is told by how a question is put, in English; where that tells nothing, anything
can be its answer.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from gateway.ensemble.evidence import WORD, Sentence, asked_about, expects_number
from gateway.ensemble.months import MONTHS
from gateway.ensemble.quantities import QUANTITIES
from gateway.ensemble.sought import CLAUSES
from gateway.ensemble.values import NUMBER_WORDS

__all__ = ["kind_held", "ordered"]

LONGEST = 600  # characters of what is still one question
UNABLE = 0.1  # of a sentence's score, which is at most 1


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
# "When is it cleaned?" is not answered by "It is being cleaned."
ASKS_TIME = _any(
    r"^(?:\w+ )?when (?:is|was|are|were|do|does|did|will|can|could|should|may|must|has|have)\b"
    r"|\b(?:at )?what time\b|^(?:seit |bis |ab )?wann\b|^quand\b|^¿?cuándo\b|^quando\b"
)
TIME = _any(
    r"\d|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b(?:noon|midnight|morning|afternoon"
    r"|evening|night|day|daily|week|weekly|month|monthly|year|yearly|spring|summer|autumn|winter"
    r"|christmas|easter|after|before|until|since|during|once|when|while|if|as soon as|now|always"
    r"|never|immediately|at once|at the (?:start|end|beginning)|century|decade|hours?|minutes?)\b"
    rf"|\b(?:{'|'.join(MONTHS)})\b"
    r"|\b(?:\w+tags?|mittags?|abends|nachts|morgens|täglich|jour|matin|soir|nuit|día|noche|giorno"
    r"|notte|dia|noite)\b"
)
MONEY = _any(
    r"[£$€]\s?\d|\b(?:pounds?|dollars?|euros?|cents?|pence|francs?|yen|nothing)\b"
    r"|\bcharge\b|\b(?:is|are|for) free\b|\b(?:GBP|USD|EUR|CHF|JPY)\b|\d\s?€"
)
ASKS_MONEY = _any(
    r"\b(?:costs?|price|priced|charged?|fees?|pay)\b|\bhow much (?:is|are|was|were|do|does|did)\b"
)
AMOUNTS = NUMBER_WORDS.keys() | frozenset(AMOUNT_WORDS.split())


def _measured() -> Iterator[tuple[re.Pattern[str], re.Pattern[str]]]:
    """How each quantity is asked for, and what a sentence has that may say it."""
    yield (
        _any(
            r"\b(?:how much|what) (?:do|does|did|is|are|was|will|would)\b.{0,80}\bcosts?\b"
            r"|\bwhat (?:is|was) the price of\b"
        ),
        MONEY,
    )
    for one in QUANTITIES:
        yield one.asks, one.says
    for unit in ("second", "minute", "hour", "day", "week", "month", "year"):
        says = rf"(?:\bper|\ban?|\bevery|\beach|/) ?{unit[:3]}|ly\b"
        yield _any(rf"\bper {unit}\b"), _any(says)


MEASURED = tuple(_measured())


def kind_held(question: str, sentences: Sequence[str]) -> bool:
    """Whether one of the sentences has what the question asks for by its form."""
    return _can_say(question)("\n".join(sentences))


def ordered(question: str, ranked: Sequence[Sentence]) -> list[Sentence]:
    """Sentences anew, best first: those that cannot say what is asked for have lost `UNABLE`, and
    those that do not put it as it is mostly put, half of it."""
    able, usual = _can_say(question), _usual(question)
    found = [
        replace(one, score=one.score - (UNABLE if not able(one.text) else _lost(usual, one.text)))
        for one in ranked
    ]
    return sorted(found, key=lambda one: (-one.score, one.n, one.start))


def _lost(usual: Sequence[re.Pattern[str]], text: str) -> float:
    """What a sentence loses that has none of the usual ways to say what is asked for."""
    return UNABLE / 2 if usual and not any(says.search(text) for says in usual) else 0.0


def _usual(question: str) -> list[re.Pattern[str]]:
    """How what is asked for is mostly put: as a price, a time, "because"; nothing that must be."""
    found = [clause.says for clause in CLAUSES if clause.asks.search(question)]
    if ASKS_TIME.search(question):
        found.append(TIME)
    if ASKS_MONEY.search(question) and not any(one.asks.search(question) for one in QUANTITIES):
        found.append(MONEY)
    return found


def _can_say(question: str) -> Callable[[str], bool]:
    """Whether a text has what the question asks for."""
    if len(question) > LONGEST:
        return lambda text: True
    wanted = [says for asks, says in MEASURED if asks.search(question)]
    if ASKS_NEGATION.search(question):
        wanted.append(NEGATION)
    figure = expects_number(question) or ASKS_YEAR.search(question) is not None
    asked = asked_about(question)

    def able(text: str) -> bool:
        if not all(says.search(text) for says in wanted):
            return False
        words = (word for word in WORD.findall(text) if not asked(word))
        return not figure or any(
            any(map(str.isdigit, word)) or word.casefold() in AMOUNTS for word in words
        )

    return able
