"""How well sentences speak to a question: which to show, which to cite, when to decline. Pure.

A sentence is scored by its likeness to the question (cosine similarity of embeddings, passed in
as numbers), by the question's words that it has, and by the likeness of its passage. Likeness
sees paraphrases; words see what embeddings blur, such as R-77 and R-23.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from msgspec import Struct

__all__ = [
    "CODE",
    "Candidate",
    "Sentence",
    "Text",
    "asked_about",
    "echoes",
    "expects_number",
    "names_held",
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
# Parts of a score. Measured on four sets of questions: any from 0.1 to 0.3 do about as well.
WORDS_WEIGHT = 0.3
PASSAGE_WEIGHT = 0.3

# Letters that begin with a capital, and a digit: "R-77", "V32", "NW-T9"; not "3rd" or "24h".
CODE = re.compile(r"(?=\D*\d)[A-Z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")

AMOUNT = re.compile(
    r"\bhow (?:many|much|long|far|soon|fast|quickly|often|old|big|large|heavy|high|deep|wide|tall"
    r"|late|early|loud|hot|cold|thick)\b"
    r"|\b(?:what|which)(?:['’]s| is| are)? (?:\w+ ){0,3}(?:age|year|percentage|price|cost|fee"
    r"|deposit|temperature|weight|speed|length|height|width|distance|capacity|size|rate"
    r"|phone number|ip address)\b",
    re.IGNORECASE,
)


class Text(Struct, frozen=True):
    """A passage: its number and words, the headings above it, how near it is, its document."""

    n: int
    text: str
    heading: str = ""
    score: float = 0.0
    document: str = ""


class Candidate(Struct, frozen=True):
    """A sentence of passage `n`, as one line. A table's row says its columns' names.

    A list has its introducing line before its items; it is the line that is compared with the
    question, as the items are candidates of their own.
    """

    n: int
    start: int
    end: int
    text: str
    heading: str
    heads: tuple[str, ...] = ()  # of a row: the names of its columns
    intro: str = ""  # of a list
    items: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """What speaks to the question."""
        return self.intro or self.text

    @property
    def embed_text(self) -> str:
        """What to compare with the question: like a chunk, its headings and then its text."""
        return f"{self.heading}\n{self.says}" if self.heading else self.says


class Sentence(Struct, frozen=True):
    """A candidate with its score, which compares between questions: at most 1."""

    n: int
    start: int
    end: int
    text: str
    score: float
    heads: tuple[str, ...] = ()
    items: tuple[str, ...] = ()


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


def rank(
    question: str,
    passages: Sequence[Text],
    found: Sequence[Candidate],
    likeness: Sequence[float],
) -> list[Sentence]:
    """The candidates with their scores, best first. `likeness` is each one's to the question."""
    near = {passage.n: passage.score for passage in passages}
    own = [terms(one.says) for one in found]
    above = [terms(one.heading) for one in found]
    weights = _weights(terms(question), own)
    total = sum(weights.values()) or 1.0
    ranked: list[Sentence] = []
    for one, words, heading, like in zip(found, own, above, likeness, strict=True):
        held = sum(
            weight * (1.0 if term in words else IN_HEADING if term in heading else 0.0)
            for term, weight in weights.items()
        )
        score = like + WORDS_WEIGHT * held / total + PASSAGE_WEIGHT * near[one.n]
        score /= 1 + WORDS_WEIGHT + PASSAGE_WEIGHT
        ranked.append(Sentence(one.n, one.start, one.end, one.text, score, one.heads, one.items))
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


def names_held(question: str, text: str) -> float:
    """The share of the question's names and figures that stand in a text; 1 where it has none.

    A name is a word with a capital or a digit. The question's first word is none for its capital,
    nor are function words, which begin sentences.
    """
    asked = {
        stem(word)
        for at, word in enumerate(_names(question))
        if any(map(str.isdigit, word))
        or (at and word[:1].isupper() and len(word) > 1 and word.casefold() not in STOPWORDS)
    }
    held = {stem(word) for word in WORD.findall(text)}
    return len(asked & held) / len(asked) if asked else 1.0


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
