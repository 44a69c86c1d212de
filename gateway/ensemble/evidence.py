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
from gateway.ensemble.values import NUMBER_WORDS

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

IN_HEADING = 0.5  # what a term counts for that stands only in a heading above the sentence
COUNTS = NUMBER_WORDS.keys() - {"one"}  # "one of them" is no amount
WITHOUT_FIGURE = 0.4  # what a sentence keeps of its score if a number is asked for and it has none

# Letters that begin with a capital, and a digit: "R-77", "V32", "NW-T9"; not "3rd" or "24h".
CODE = re.compile(r"(?=\D*\d)[A-Z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")

HEAD_ROW = re.compile(r"\s*\|[ \t]*:?-{3,}")

AMOUNT = re.compile(
    r"\bhow (?:many|much|long|far|soon|fast|quickly|often|old|big|large|heavy|high|deep|wide|tall"
    r"|late|early|loud|hot|cold|thick)\b"
    r"|\b(?:what|which)(?:['’]s| is| are)? (?:\w+ ){0,3}(?:age|year|percentage|price|cost|fee"
    r"|deposit|temperature|weight|speed|length|height|width|distance|capacity|size|rate"
    r"|phone number|ip address)\b",
    re.IGNORECASE,
)


class Text(Struct, frozen=True):
    """A passage: its number, its words, the headings above it, and how near it is (-1..1)."""

    n: int
    text: str
    heading: str = ""
    score: float = 0.0


class Sentence(Struct, frozen=True):
    """A sentence of passage `n`; `score` ranks it among the others.

    `coverage` compares between questions: the share of the question's weight that it covers, times
    the share of the question's terms that any passage knows, 0..1.
    """

    n: int
    start: int
    end: int
    score: float
    coverage: float


class _Found(Struct, frozen=True):
    passage: Text
    start: int
    end: int
    own: set[str]
    heading: set[str]

    def holds(self, term: str) -> float:
        if term in self.own:
            return 1.0
        return IN_HEADING if term in self.heading else 0.0

    def has_figure(self, is_asked: Callable[[str], bool]) -> bool:
        words = WORD.findall(self.passage.text[self.start : self.end])
        figures = (word for word in words if word[0].isdigit() or word.casefold() in COUNTS)
        return any(not is_asked(word) for word in figures)


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
    """Every sentence of the passages, the one that speaks most to the question first.

    Headings and the head rows of tables are not among them: they name things, and say nothing of
    them; what stands under a heading in a passage is about its words too.
    """
    found: list[_Found] = []
    for passage in passages:
        heading = terms(passage.heading)
        for start, end in sentences(passage.text):
            own = terms(passage.text[start:end])
            if _is_heading(passage.text, start, end):
                heading = terms(passage.heading) | own
            else:
                found.append(_Found(passage, start, end, own, heading))
    asked = terms(question)
    weights = _weights(asked, [sentence.own for sentence in found])
    total = sum(weights.values()) or 1.0
    known = len(asked & _all_terms(passages)) / max(1, len(asked))
    is_asked = asked_about(question) if expects_number(question) else None
    ranked: list[Sentence] = []
    for sentence in found:
        covered = sum(weight * sentence.holds(term) for term, weight in weights.items())
        score = covered * (0.5 + max(0.0, sentence.passage.score))
        if is_asked is not None and not sentence.has_figure(is_asked):
            score *= WITHOUT_FIGURE
        coverage = covered / total * known
        ranked.append(Sentence(sentence.passage.n, sentence.start, sentence.end, score, coverage))
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


def _all_terms(passages: Sequence[Text]) -> set[str]:
    return {term for passage in passages for term in terms(f"{passage.heading} {passage.text}")}


def _is_heading(text: str, start: int, end: int) -> bool:
    sentence = text[start:end]
    if not any(map(str.isalnum, sentence)):
        return True  # a ruled line
    capitals = sentence.isupper() and len(sentence.split()) > 1
    return capitals or sentence.startswith("#") or HEAD_ROW.match(text, end) is not None


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
