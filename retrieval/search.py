"""Queries to passages: by vectors and by words, joined, without repetitions."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from retrieval.embedding import embed_texts
from retrieval.errors import InvalidRequest
from retrieval.filters import Filter
from retrieval.fuse import Weights, distinct, diverse, fuse
from retrieval.indexes import Indexes, StoreIndex
from retrieval.neighbours import widened
from retrieval.store import Store
from retrieval.types import Embedder, Hit

__all__ = ["LIMIT", "Asked", "Rerank", "search"]

LIMIT = 1000  # passages a search may return
_NEIGHBOURS = 10  # chunks on each side that a passage may be widened by
_LEAST_DEPTH = 50  # candidates of each kind: what one kind ranks low the other may rank high
_DEEPEST = 4 * LIMIT  # where that many repeat each other, or are under the floor, it is enough
_SPARE = 8  # passages beyond those wanted, as repetitions fall away
_RERANKED = 50  # passages that a reranker is shown, if fewer are asked for

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

# The query and passages to their relevance, higher is better, in the order given.
Rerank = Callable[[str, Sequence[str]], Awaitable[Sequence[float]]]


class Asked(Struct, frozen=True, kw_only=True):
    """How to search. Raises InvalidRequest, which names the field."""

    limit: int = 10
    score_floor: float | None = None  # cosine similarity: no passage under it
    filters: Filter | None = None  # on the attributes of files
    weights: Weights = Weights()
    diversity: float = 0.0  # 0..1: how much a passage is to differ from those before it
    neighbours: int = 0  # chunks on each side to widen a passage by
    rerank: Rerank | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIMIT:
            raise InvalidRequest("limit", f"must be from 1 to {LIMIT}")
        if self.score_floor is not None and not math.isfinite(self.score_floor):
            raise InvalidRequest("score_floor", "must be a finite number")
        if not 0 <= self.diversity <= 1:
            raise InvalidRequest("diversity", "must be from 0 to 1")
        if not 0 <= self.neighbours <= _NEIGHBOURS:
            raise InvalidRequest("neighbours", f"must be from 0 to {_NEIGHBOURS}")

    @property
    def floor(self) -> float:
        return -math.inf if self.score_floor is None else self.score_floor


async def search(
    store: Store,
    indexes: Indexes,
    embedder: Embedder,
    owner: str,
    stores: Sequence[str],
    query: str | Sequence[str],
    asked: Asked,
) -> list[Hit]:
    """The best passages, by falling relevance; equals in the order of document, place and age.

    `stores` are ids or names. Of several queries a passage's relevance and score are its best.
    Passages that say the same are returned once. Raises StoreNotFound, and InvalidRequest for
    "query".
    """
    queries = _checked(query)
    store_ids = await asyncio.to_thread(lambda: {store.resolve(owner, name) for name in stores})
    if not store_ids:
        return []
    vectors = await embed_texts(embedder, queries, "query")

    def find() -> list[Hit]:
        found = [
            (
                indexes.get(store_id),
                None if asked.filters is None else store.chunk_ids(owner, store_id, asked.filters),
            )
            for store_id in sorted(store_ids)
        ]
        return _find(store, found, owner, list(zip(queries, vectors, strict=True)), asked)

    hits = await asyncio.to_thread(find)
    if asked.rerank is not None:
        hits = await _reranked(hits, queries, asked.rerank)
    hits = hits[: asked.limit]
    if asked.neighbours:

        def widen() -> list[Hit]:
            return widened(
                hits,
                lambda chunk: indexes.source.span(chunk, asked.neighbours),
                lambda hit: store.text(owner, hit.store_id, hit.file_id),
            )

        return await asyncio.to_thread(widen)
    return hits


def _find(
    store: Store,
    indexes: Sequence[tuple[StoreIndex, Ids | None]],
    owner: str,
    queries: Sequence[tuple[str, Vectors]],
    asked: Asked,
) -> list[Hit]:
    wanted = asked.limit
    if asked.diversity or asked.rerank is not None:
        wanted = max(wanted, _RERANKED)
    depth = max(_LEAST_DEPTH, wanted + _SPARE)
    while True:
        # Of a few queries each passage takes its best; repetitions fall away, and if then too few
        # are left, many more are looked for.
        scores: dict[int, float] = {}
        relevance: dict[int, float] = {}
        exhausted = True
        for words, vector in queries:
            cosines, fused, all_there = _candidates(indexes, words, vector, depth, asked)
            exhausted &= all_there
            for chunk, cosine in cosines.items():
                scores[chunk] = max(cosine, scores.get(chunk, -math.inf))
                relevance[chunk] = max(fused[chunk], relevance.get(chunk, -math.inf))
        scores = {chunk: score for chunk, score in scores.items() if score >= asked.floor}
        hits = _distinct_hits(store, owner, scores, relevance, wanted)
        if len(hits) >= wanted or exhausted or depth > _DEEPEST:
            break
        depth *= 4
    if asked.diversity:
        hits = _diverse(indexes, hits, asked)
    return hits


def _distinct_hits(
    store: Store,
    owner: str,
    scores: dict[int, float],
    relevance: dict[int, float],
    wanted: int,
) -> list[Hit]:
    """The first `wanted` that are still there and do not repeat one before them."""
    ranked = sorted(scores, key=lambda chunk: (-relevance[chunk], chunk))
    count = wanted + _SPARE  # mostly enough; texts are most of what reading costs
    while True:
        found = store.hits(owner, {chunk: scores[chunk] for chunk in ranked[:count]})
        hits = [msgspec.structs.replace(hit, relevance=relevance[hit.chunk_id]) for hit in found]
        hits.sort(key=lambda hit: (-hit.relevance, hit.document_id, hit.start, hit.chunk_id))
        hits = [hits[place] for place in distinct((hit.text for hit in hits), wanted)]
        if len(hits) >= wanted or count >= len(ranked):
            return hits
        count = len(ranked)


def _candidates(
    indexes: Sequence[tuple[StoreIndex, Ids | None]],
    words: str,
    vector: Vectors,
    depth: int,
    asked: Asked,
) -> tuple[dict[int, float], dict[int, float], bool]:
    """Cosines and relevance by chunk id, and whether a greater depth would find no others.

    Every passage that either kind of search finds has its true cosine.
    """
    cosines: dict[int, float] = {}
    by_words: dict[int, float] = {}
    exhausted = True
    for index, within in indexes:
        if asked.weights.embedding:
            ids, near = index.vectors.search(vector, depth, within)
            # Then these are all that there are above the floor: words cannot find another.
            exhausted &= len(ids) < depth or float(near[-1]) < asked.floor
            cosines.update(zip(ids.tolist(), near.tolist(), strict=True))
        if asked.weights.text:
            found = index.search_words(words, depth, within)
            if not asked.weights.embedding:
                exhausted &= len(found.ids) < depth
            by_words.update(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
            missing = [chunk for chunk in found.ids.tolist() if chunk not in cosines]
            if missing:
                held, near = index.vectors.score(vector, np.array(missing, np.int64))
                cosines.update(zip(held.tolist(), near.tolist(), strict=True))
    return cosines, fuse(cosines, by_words, asked.weights), exhausted


def _diverse(
    indexes: Sequence[tuple[StoreIndex, Ids | None]], hits: list[Hit], asked: Asked
) -> list[Hit]:
    vectors: dict[int, Vectors] = {}
    for index, _ in indexes:
        vectors |= index.vectors.first_parts([hit.chunk_id for hit in hits])
    hits = [hit for hit in hits if hit.chunk_id in vectors]
    if not hits:
        return hits
    order = diverse(
        [hit.relevance for hit in hits],
        np.stack([vectors[hit.chunk_id] for hit in hits]),
        asked.diversity,
        asked.limit,
    )
    return [hits[place] for place in order]


async def _reranked(hits: list[Hit], queries: Sequence[str], rerank: Rerank) -> list[Hit]:
    """By what the reranker says of the first query; the fused order decides between equals."""
    if not hits:
        return hits
    said = await rerank(queries[0], [hit.text for hit in hits])
    found = [
        msgspec.structs.replace(hit, relevance=float(value))
        for hit, value in zip(hits, said, strict=True)
    ]
    return sorted(found, key=lambda hit: -hit.relevance)


def _checked(query: str | Sequence[str]) -> list[str]:
    queries = [query] if isinstance(query, str) else list(query)
    if not queries or not all(text.strip() for text in queries):
        raise InvalidRequest("query", "must not be empty")
    # Tokenizers take no lone surrogates, which JSON can carry.
    return [text.encode("utf-8", "replace").decode() for text in queries]
