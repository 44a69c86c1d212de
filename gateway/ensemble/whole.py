"""Questions about a document as a whole ("what is this paper about?"), and which one. Pure."""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.ensemble.evidence import WORD, Sentence, stem, terms

__all__ = ["asks_of_whole", "named", "opening_first"]

THING = (
    r"(?:paper|document|doc|file|text|report|article|book|manual|handbook|study|contract|letter"
    r"|presentation|chapter|page|[\w-]+\.[a-z]{2,4})"
)
# Said of a whole, in the commonest languages of the web. A question for a fact has none of these.
PATTERNS = (
    rf"\bwhat(?:['’]s| is| are| was)\b.{{0,80}}\b{THING}s?\b.{{0,40}}\babout\b",
    # "What is it complaining about?" asks for no summary.
    r"\bwhat(?:['’]s| is| was) (?:it|this|that)(?: all)? about\b",
    rf"\bwhat (?:does|do|did)\b.{{0,80}}\b(?:{THING}s?|it|this)\b.{{0,40}}"
    r"\b(?:cover|deal with|describe|discuss)\b",
    r"\bsummar(?:y|i[sz]e|ies)\b|\boverview of\b|\btl;?dr\b|\babstract of\b",
    rf"\bmain (?:points?|findings?|topics?|ideas?|claims?|contributions?)\b.{{0,60}}"
    rf"\b(?:{THING}s?|it|this)\b",
    r"\bworum geht es\b|\bzusammenfass|\bwovon handelt\b|\büberblick über\b",
    r"\bde quoi (?:parle|traite|s['’]agit)|\brésum[ée]",
    r"\bde qué (?:trata|habla)\b|\bresum(?:en|e|ir)\b|\bdo que trata\b|\bresumo\b",
    r"\bdi cosa parla\b|\briassum|\briassunto\b",
    r"总结|概括|概述|摘要|讲了什么|要約|まとめて|概要|요약",
)
WHOLE = re.compile("|".join(PATTERNS), re.IGNORECASE)
SENTENCE_WORDS = 5  # what has fewer is a title, a label or an address
SPLIT = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def asks_of_whole(question: str) -> bool:
    """Whether a question is about a document rather than something that stands in it."""
    return WHOLE.search(question) is not None


def named(question: str, names: Sequence[str]) -> int | None:
    """The place of the document that a question names; None where it names none, or several.

    A document is named by its whole file name, or by the words of it that only it has.
    """
    asked = question.casefold()
    exact = [at for at, name in enumerate(names) if name and name.casefold() in asked]
    if exact:
        return exact[0] if len(exact) == 1 else None
    said = terms(question) | {stem(word) for word in WORD.findall(question)}
    words = [
        {stem(part) for part in SPLIT.split(_stem_of(name)) if len(part) > 1} for name in names
    ]
    counts = [len(own & said) / len(own) if own else 0.0 for own in words]
    best = max(counts, default=0.0)
    places = [at for at, count in enumerate(counts) if count == best]
    return places[0] if best >= 0.5 and len(places) == 1 else None


def opening_first(ranked: Sequence[Sentence], count: int) -> list[Sentence]:
    """Sentences best first, with the document's first `count` before them, as good as the best.

    What a document is about, it says where it begins; no one sentence of it is like the question.
    """
    told = [one for one in ranked if len(WORD.findall(one.text)) >= SENTENCE_WORDS]
    told = [one for one in told if not one.heads] or told  # a table's rows are details
    opening = sorted(told, key=lambda sentence: (sentence.n, sentence.start))[:count]
    return [replace(one, score=ranked[0].score) for one in opening] + [
        one for one in ranked if one not in opening
    ]


def _stem_of(name: str) -> str:
    """A file's name without its extension."""
    head, dot, tail = name.rpartition(".")
    return head if dot and 0 < len(tail) <= 5 else name
