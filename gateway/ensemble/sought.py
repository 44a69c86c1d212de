"""What a question asks for by its form, where a sentence has it just once: a price, a date. Pure.

So small a model finds the right sentence better than the right words of it. Where a question asks
for a price and the sentence has one, that is the answer, whatever else of it was said. How
reasons and conditions are put is known of English alone; how a price, a share, a date, a count or
a person is asked for, of German, French, Spanish, Italian and Portuguese too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gateway.ensemble.evidence import WORD, stem, terms
from gateway.ensemble.months import WRITTEN
from gateway.ensemble.quantities import LASTS, QUANTITIES

__all__ = ["CLAUSES", "DATE", "sought"]

MONTH = rf"(?:{'|'.join(sorted(WRITTEN, key=len, reverse=True))})"
DAY = r"\d{1,2}(?:st|nd|rd|th|er|\.|º)?"
DATE = (
    rf"(?:{DAY} (?:of |de )?{MONTH}|{MONTH} {DAY})(?:,? (?:de )?\d{{4}})?\b"
    rf"|\b{MONTH},? (?:de )?\d{{4}}\b"
)


class Clause(NamedTuple):
    """What is asked for as a whole clause: its question, and how a sentence says it (`said`)."""

    asks: re.Pattern[str]
    says: re.Pattern[str]


def _any(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


CLAUSES = (
    Clause(
        _any(
            r"\b(?:mean|means|meaning|stands? for|wrong|happened|why|complain(?:s|ing)?"
            r"|indicate[sd]?|problem|trouble)\b"
        ),
        re.compile(r"\b(?:means(?: that)?|in the sense that) (?P<said>[^.;:]+\w)"),
    ),
    Clause(
        _any(r"^why\b|\bwhat (?:was|is|were|are) the (?:reason|cause)|\bwhat caused\b"),
        re.compile(r"\b(?:because(?: of)?|due to|owing to) (?P<said>[^.;:,]+\w)"),
    ),
    Clause(
        _any(r"\b(?:under|on|in|by) what (?:condition|circumstance)s?\b"),
        re.compile(r"\bif (?P<said>[^.;:]+\w)"),
    ),
)
MAGNITUDE = r"(?: ?(?:thousand|million|billion|trillion|bn|m|k)\b)?"
ASKS_PRICE = _any(
    r"\b(?:costs?|price|priced|charged?|fees?|pay)\b|\bhow much\b(?! of\b)"
    r"|\bkostete?n?\b|\bcoûte(?:nt)?\b|\bcuánto cuestan?\b|\bquanto (?:costano?|custam?|costa)\b"
    r"|\b(?:was ist der preis|quel est le prix|cuál es el precio|qual è il prezzo|qual é o preço)\b"
)
PRICE = re.compile(
    rf"[£$€] ?\d(?:[\d.,]*\d)?{MAGNITUDE}"
    rf"|(?<![\w.,])\d[\d.,]*{MAGNITUDE} ?"
    r"(?:€|(?:pounds|dollars|euros|pence|cents|Euro|Franken|Dollar|Pfund|francs|livres|libras"
    r"|dólares|dollari|sterline|reais|EUR|USD|GBP|CHF)\b)"
)
ASKS_SHARE = _any(
    r"\b(?:what|which) (?:percent|percentage|share)\b"
    r"|\bwie ?viel prozent\b|\bquel pourcentage\b|\bqué porcentaje\b|\b(?:che|quale) percentuale\b"
    r"|\bque p(?:or|er)centagem\b"
)
SHARE = re.compile(
    r"(?<![\w.,])\d[\d.,]*(?:[ \u00a0\u202f]?%| per ?cent\b| Prozent\b| pour cent\b| por ciento\b"
    r"| per cento\b| por cento\b)"
)
ASKS_DATE = _any(
    r"^(?:\w+ )?when\b|\b(?:what|which) (?:year|date)\b"
    r"|^(?:seit )?wann\b|\bin welchem jahr\b|^quand\b|\bquelle année\b|^¿?(?:desde )?cuándo\b"
    r"|\bqué año\b|^(?:da )?quando\b|\bin (?:che|quale) anno\b|\bem que ano\b"
)
DATED = re.compile(rf"\b(?:{DATE})|\b(?:1\d|20)\d\d\b(?![–—-]\d)")
# Not of German, whose nouns all have capitals.
ASKS_PERSON = _any(
    r"^(?:(?:to|by|for|with|from) )?who\b|^(?:par )?qui\b|^¿?(?:por )?quién(?:es)?\b|^(?:da )?chi\b"
    r"|^(?:por )?quem\b"
)
CAPITALISED = r"[A-ZÀ-ÖØ-Þ][\w'’.-]*\w"
NAME = rf"{CAPITALISED}(?:(?: (?:de|la|of|van|von|du|le))? {CAPITALISED}| [A-Z]\.)*"
PERSON = re.compile(rf"\b{NAME}")
ASKS_PLACE = _any(r"^(?:(?:in|at|to|from|on) )?where\b")
PLACE = re.compile(rf"\b(?:in|at|to|from|near|on|into|outside|around) (?:the )?(?P<said>{NAME})")
ASKS_COUNT = _any(
    r"\b(?:how many |wie ?viele |combien d(?:e |['’])|cuánt[oa]s |quant(?:[ie]|[oa]s) )"
    r"(?P<counted>(?:[\w'-]+ ?){1,3})"
)
COUNTED = re.compile(
    r"(?<![\w.,-])(?<!\d[ \u00a0\u202f])(?:[£$€] ?)?"
    r"(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d(?:[\d.,]*\d)?)(?:%| percent\b)?"
    rf"{MAGNITUDE}(?![\w-])"
)
CLAUSE_END = re.compile(r"[,;:] |[(—]| (?:and|but|while|whereas|und|aber|et|mais|y|pero|e|ma|mas) ")
NEAR = 3  # words behind a number, one of which is what is counted


def sought(text: str, start: int, end: int, question: str) -> tuple[int, int] | None:
    """The span of what is asked for in `text`, a sentence of which `text[start:end]` was said.

    None where the sentence does not have it, where what was said is it already, and where the
    sentence has several and its clauses do not tell which. What was said of it is completed.
    """
    for clause in CLAUSES:
        if clause.asks.search(question) and (found := clause.says.search(text)):
            return found.span("said")
    for asks, spans in KINDS:
        if asks.search(question) and (there := list(spans(text, question))):
            return _chosen(text, there, (start, end), question)
    return None


def _chosen(
    text: str, spans: Sequence[tuple[int, int]], said: tuple[int, int], question: str
) -> tuple[int, int] | None:
    chosen = spans[0] if len(spans) == 1 else _by_clause(text, spans, question)
    if chosen is None:
        return None
    low, high = chosen
    start, end = said
    part = low <= start and end <= high and said != chosen
    return chosen if part or end <= low or high <= start else None


def _by_clause(
    text: str, spans: Sequence[tuple[int, int]], question: str
) -> tuple[int, int] | None:
    """Of several, the one in whose clause more of the question's words stand than in any other's:
    "The pool has 26 degrees, the paddling pool 32"."""
    asked = terms(question)
    held = [len(asked & terms(text[slice(*_clause(text, *span))])) for span in spans]
    best = max(held)
    return spans[held.index(best)] if held.count(best) == 1 else None


def _clause(text: str, start: int, end: int) -> tuple[int, int]:
    low = max((found.end() for found in CLAUSE_END.finditer(text, 0, start)), default=0)
    after = CLAUSE_END.search(text, end)
    return low, after.start() if after else len(text)


Spans = Callable[[str, str], Iterator[tuple[int, int]]]


def _matching(pattern: re.Pattern[str]) -> Spans:
    return lambda text, question: (found.span() for found in pattern.finditer(text))


def _dates(text: str, question: str) -> Iterator[tuple[int, int]]:
    asked = set(WORD.findall(question))
    for found in DATED.finditer(text):
        if not asked.issuperset(WORD.findall(found.group())):
            yield found.span()


def _people(text: str, question: str) -> Iterator[tuple[int, int]]:
    """Names that the question does not have. What begins the sentence may be none."""
    asked = terms(question)
    for found in PERSON.finditer(text):
        named = terms(found.group())
        if named and not named & asked and (found.start() or " " in found.group()):
            yield found.span()


def _places(text: str, question: str) -> Iterator[tuple[int, int]]:
    asked = terms(question)
    for found in PLACE.finditer(text):
        named = terms(found["said"])
        if named and not named & asked and not DATED.search(found["said"]):
            yield found.span("said")


def _counts(text: str, question: str) -> Iterator[tuple[int, int]]:
    asked = ASKS_COUNT.search(question)
    counted = terms(asked["counted"]) if asked else set[str]()
    for found in COUNTED.finditer(text):
        behind = WORD.findall(text[found.end() : found.end() + 60])[:NEAR]
        if counted & {stem(word) for word in behind}:
            yield found.span()


KINDS: tuple[tuple[re.Pattern[str], Spans], ...] = (
    *((one.asks_anywhere, _matching(one.value)) for one in (*QUANTITIES, LASTS)),
    (ASKS_SHARE, _matching(SHARE)),
    (ASKS_PRICE, _matching(PRICE)),
    (ASKS_DATE, _dates),
    (ASKS_COUNT, _counts),
    (ASKS_PERSON, _people),
    (ASKS_PLACE, _places),
)
