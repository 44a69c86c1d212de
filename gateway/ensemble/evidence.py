"""How well sentences speak to a question: which to show, which to cite, when to decline. Pure.

Lexical on purpose: it costs under a millisecond, works on any document, and sees what embeddings
blur, such as that a question is about R-77 and the sentence about R-23.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from msgspec import Struct

from gateway.ensemble.ground import sentences

__all__ = [
    "Sentence",
    "Text",
    "asked_about",
    "echoes",
    "expects_number",
    "names_missing",
    "rank",
    "says_nothing_new",
    "stem",
    "terms",
]

WORD = re.compile(r"[^\W_]+(?:[-.'’][^\W_]+)*")
FUNCTION_WORDS = """
a an the of in on at to for from by with about into over after before under and or but if then than
that this these those is are was were be been being am do does did done can could should would will
shall may might must has have had having it its i me my mine we us our you your yours he she they
them their his her what which who whom whose when where why how many much long far soon often there
here as so not no what's who's it's isn't don't doesn't can't any some get gets got take takes mean
means
"""
STOPWORDS = frozenset(FUNCTION_WORDS.split())
SUFFIXES = (
    *(("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("ers", ""), ("er", "")),
    *(("es", ""), ("s", ""), ("ly", ""), ("e", "")),
)
STEM_CHARS = 6  # "configure" and "configuration" share this much

# What a term counts for where it does not stand in the sentence itself.
IN_HEADING = 0.5
IN_SENTENCE_BEFORE = 0.15

# Letters that begin with a capital, and a digit: "R-77", "V32", "NW-T9"; not "3rd" or "24h".
CODE = re.compile(r"(?=.*\d)[A-Z][A-Za-z]*-?(?:[A-Z]*\d+[A-Za-z]*-?)+")

AMOUNT = re.compile(
    r"\bhow (?:many|much|long|far|soon|fast|quickly|often|old|big|large|heavy|high|deep|wide|tall"
    r"|late|early|loud|hot|cold|thick)\b"
    r"|\b(?:what|which) (?:\w+ ){0,2}(?:age|year|percentage|price|cost|fee|deposit|temperature"
    r"|weight|speed|length|height|width|distance|capacity|size|rate|phone number|ip address)\b",
    re.IGNORECASE,
)


class Text(Struct, frozen=True):
    """A passage: its number, its words, the headings above it, and how near it is (-1..1)."""

    n: int
    text: str
    heading: str = ""
    score: float = 0.0


class Sentence(Struct, frozen=True):
    """A sentence of passage `n`. `score` ranks, `coverage` compares between questions (0..1)."""

    n: int
    start: int
    end: int
    score: float
    coverage: float


def terms(text: str) -> set[str]:
    """The stems of a text's content words."""
    return {stem(word) for word in WORD.findall(text) if word.casefold() not in STOPWORDS}


@lru_cache(maxsize=20_000)  # documents repeat their words; this is most of what ranking costs
def stem(word: str) -> str:
    """A word cut so that its forms meet. Codes and numbers stay whole."""
    word = word.casefold().replace("’", "'").removesuffix("'s")
    if any(c.isdigit() for c in word):
        return word
    for suffix, instead in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word[: len(word) - len(suffix)] + instead
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]  # "stopped"
    return word[:STEM_CHARS]


def rank(question: str, passages: Sequence[Text]) -> list[Sentence]:
    """Every sentence of the passages, the one that speaks most to the question first."""
    found: list[tuple[Text, int, int, set[str], set[str], set[str]]] = []
    for passage in passages:
        heading, before = terms(passage.heading), set[str]()
        for start, end in sentences(passage.text):
            own = terms(passage.text[start:end])
            found.append((passage, start, end, own, heading, before))
            before = own
    weights = _weights(terms(question), [own for _, _, _, own, _, _ in found])
    total = sum(weights.values()) or 1.0
    ranked: list[Sentence] = []
    for passage, start, end, own, heading, before in found:
        covered = sum(
            weight
            * max(
                term in own, IN_HEADING * (term in heading), IN_SENTENCE_BEFORE * (term in before)
            )
            for term, weight in weights.items()
        )
        score = covered * (0.5 + max(0.0, passage.score))
        ranked.append(Sentence(passage.n, start, end, score, covered / total))
    return sorted(ranked, key=lambda s: (-s.score, s.n, s.start))


def expects_number(question: str) -> bool:
    """Whether the answer must have a figure in it ("How long …", "What deposit …"). English."""
    return AMOUNT.search(question) is not None


def echoes(value: str, question: str) -> bool:
    """Whether a value has no content word of its own, only the question's."""
    return terms(value) <= terms(question)


def asked_about(question: str) -> Callable[[str], bool]:
    """Whether a word is one of the question's numbers and codes, which are not its answer."""
    stems = {word for word in terms(" ".join(_names(question))) if any(map(str.isdigit, word))}
    return lambda word: stem(word) in stems


def says_nothing_new(question: str) -> Callable[[str], bool]:
    """Whether a word is a function word or one of the question's own: no answer begins with it."""
    stems = terms(" ".join(_names(question)))
    return lambda word: word.casefold() in STOPWORDS or stem(word) in stems


def names_missing(question: str, text: str) -> set[str]:
    """Codes and model names ("R-77", "V32") of the question that do not stand in the text."""
    asked = {w.casefold() for w in _names(question) if CODE.fullmatch(w)}
    return asked - {stem(word) for word in WORD.findall(text)} if asked else asked


def _names(question: str) -> list[str]:
    return [re.sub(r"['’]s?$", "", word) for word in WORD.findall(question)]


def _weights(question: set[str], sentence_terms: Sequence[set[str]]) -> dict[str, float]:
    """Rare terms say more; one that stands nowhere says most, and that there is no answer."""
    counts = Counter(term for own in sentence_terms for term in own)
    return {
        term: math.log(1 + len(sentence_terms) / max(counts[term], 0.5))
        * (1.5 if any(c.isdigit() for c in term) else 1.0)
        for term in question
    }
