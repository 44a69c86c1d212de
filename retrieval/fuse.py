"""One order of passages from two: how near their vectors are, and which words they have. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Weights", "distinct", "diverse", "fuse"]

# So much BM25 weighs as much as a whole cosine similarity. Measured: docs/retrieval-quality.md.
_BM25_EACH = 16.0
# A long text as a query finds hundreds of words, which do not tell as much as their sum says.
_MOST = 3.0
_SHINGLE = 4  # words
_SAME_SHARE = 0.9
_WORD = re.compile(r"\w+")
_FIGURE = re.compile(r"\w*\d\w*")


class Weights(Struct, frozen=True, kw_only=True):
    """How much each kind of likeness counts: (1, 0) is by vectors alone, (0, 1) by words alone.

    Raises ValueError where they are negative, not finite, or both 0.
    """

    embedding: float = 1.0
    text: float = 1.0

    def __post_init__(self) -> None:
        pair = (self.embedding, self.text)
        if not (np.isfinite(pair).all() and min(pair) >= 0 and max(pair) > 0):
            raise ValueError("weights must be finite, not negative, and not both 0")


def fuse(
    cosines: Mapping[int, float], words: Mapping[int, float], weights: Weights
) -> dict[int, float]:
    """The relevance, 0..1, of every passage in `cosines` by its id.

    `words` has the BM25 scores of those that have words of the query. Neither kind is stretched to
    a common range. BM25 adds up how much each word tells, so where the best passage shares little
    with the query, or what all passages say, words count little, and where it has many rare words,
    they count more than nearness. Likewise, where some passages are much nearer than the others,
    these come first.
    """
    best = max(words.values(), default=0.0)
    text = weights.text * (min(best / _BM25_EACH, _MOST) if weights.embedding else 1.0)
    total = weights.embedding + text
    return {
        chunk: (
            weights.embedding * min(max(cosine, 0.0), 1.0)
            + text * words.get(chunk, 0.0) / (best or 1.0)
        )
        / total
        for chunk, cosine in cosines.items()
    }


def distinct(texts: Iterable[str], limit: int) -> list[int]:
    """The places of the first `limit` that say what none before them does.

    Two texts are the same if nine tenths of their runs of four words are, and all their numbers:
    rows of a table that differ in a figure are not.
    """
    kept: list[int] = []
    seen: set[str] = set()
    said: list[tuple[frozenset[str], frozenset[tuple[str, ...]]]] = []
    for place, text in enumerate(texts):
        if len(kept) == limit:
            break
        words = _WORD.findall(text.casefold())
        plain = " ".join(words or text.split())
        if plain in seen:
            continue
        seen.add(plain)
        figures = frozenset(_FIGURE.findall(plain))
        runs = frozenset(zip(*(words[at:] for at in range(_SHINGLE)), strict=False))
        if not any(
            figures == their_figures
            and len(runs & theirs) >= _SAME_SHARE * max(len(runs), len(theirs), 1)
            for their_figures, theirs in said
        ):
            kept.append(place)
            said.append((figures, runs))
    return kept


def diverse(
    relevance: Sequence[float], vectors: NDArray[np.float32], diversity: float, limit: int
) -> list[int]:
    """Places in an order that avoids what has been said: maximal marginal relevance.

    `vectors` has shape (n, dimension), unit length. With `diversity` 0 relevance alone decides,
    with 1 only how unlike a passage is to those before it.
    """
    left = list(range(len(relevance)))
    likest = np.zeros(len(relevance), np.float32)
    order: list[int] = []
    while left and len(order) < limit:
        best = max(
            left,
            key=lambda at: (1 - diversity) * relevance[at] - diversity * float(likest[at]),
        )
        left.remove(best)
        order.append(best)
        likest = np.maximum(likest, vectors @ vectors[best])
    return order
