"""SQuAD's exact match and token F1 of one answer, as its official script computes them. Pure."""

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["exact_match", "token_f1", "tokens"]

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def tokens(text: str) -> list[str]:
    """The words that count: lower-cased, without ASCII punctuation and articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def exact_match(answers: Sequence[str], value: str) -> float:
    """1 if the value's words are those of an answer. No answers: 1 if the value is empty too."""
    given = tokens(value)
    wanted = [tokens(answer) for answer in answers] or [[]]
    return float(given in wanted)


def token_f1(answers: Sequence[str], value: str) -> float:
    """The best harmonic mean of precision and recall of words over the answers."""
    given = tokens(value)
    return max((_f1(tokens(answer), given) for answer in answers), default=float(not given))


def _f1(wanted: list[str], given: list[str]) -> float:
    if not wanted or not given:
        return float(wanted == given)
    common = sum((Counter(wanted) & Counter(given)).values())
    return 2 * common / (len(wanted) + len(given))
