"""Queries to passages: every store's nearest vectors, joined, without repetitions."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import embed_texts
from retrieval.errors import InvalidRequest
from retrieval.filters import Filter
from retrieval.indexes import Indexes
from retrieval.store import Store
from retrieval.types import Embedder, Hit
from retrieval.vector_index import VectorIndex

__all__ = ["LIMIT", "search"]

LIMIT = 1000  # passages a search may return


async def search(
    store: Store,
    indexes: Indexes,
    embedder: Embedder,
    owner: str,
    stores: Sequence[str],
    query: str | Sequence[str],
    *,
    limit: int = 10,
    score_floor: float | None = None,
    filters: Filter | None = None,
) -> list[Hit]:
    """The best passages, by falling score; equals in the order of document, place and age.

    `stores` are ids or names. Of several queries a passage's score is its best. Passages that
    say the same are returned once; none scores under `score_floor` (cosine similarity).
    Raises StoreNotFound, and InvalidRequest for "query", "limit" and "score_floor".
    """
    queries = _checked(query, limit, score_floor)
    store_ids = await asyncio.to_thread(lambda: {store.resolve(owner, name) for name in stores})
    if not store_ids:
        return []
    vectors = await embed_texts(embedder, queries, "query")

    def find() -> list[Hit]:
        if filters is not None:
            found = [_filtered(store, owner, store_id, filters) for store_id in sorted(store_ids)]
        else:
            found = [indexes.get(owner, store_id) for store_id in sorted(store_ids)]
        return _find(store, found, owner, vectors, limit, score_floor)

    return await asyncio.to_thread(find)


def _find(
    store: Store,
    indexes: list[VectorIndex],
    owner: str,
    queries: NDArray[np.float32],
    limit: int,
    score_floor: float | None,
) -> list[Hit]:
    floor = -math.inf if score_floor is None else score_floor
    # Some more than asked for, as repetitions fall away; should that not do, many more.
    depth = limit + 8
    while True:
        scores, exhausted = _best_scores(indexes, queries, depth, floor)
        hits = _distinct(store.hits(owner, scores))
        if len(hits) >= limit or exhausted:
            return hits[:limit]
        depth *= 4


def _filtered(store: Store, owner: str, store_id: str, filters: Filter) -> VectorIndex:
    ids, vectors = store.vectors(owner, store_id)
    kept = np.isin(ids, store.chunk_ids(owner, store_id, filters))
    return VectorIndex(ids[kept], vectors[kept])


def _best_scores(
    indexes: list[VectorIndex], queries: NDArray[np.float32], depth: int, floor: float
) -> tuple[dict[int, float], bool]:
    """Scores from `floor` up by chunk id, and whether a greater depth would find no others."""
    best: dict[int, float] = {}
    exhausted = True
    for index in indexes:
        for query in queries:
            ids, scores = index.search(query, depth)
            above = scores >= floor
            exhausted &= len(ids) < depth or not bool(above.all())
            for chunk_id, score in zip(ids[above].tolist(), scores[above].tolist(), strict=True):
                best[chunk_id] = max(score, best.get(chunk_id, -math.inf))
    return best, exhausted


def _distinct(hits: list[Hit]) -> list[Hit]:
    """In order, the first of those with the same words."""
    hits.sort(key=lambda hit: (-hit.score, hit.document_id, hit.start, hit.chunk_id))
    by_words: dict[str, Hit] = {}
    for hit in hits:
        by_words.setdefault(" ".join(hit.text.split()).casefold(), hit)
    return list(by_words.values())


def _checked(query: str | Sequence[str], limit: int, score_floor: float | None) -> list[str]:
    queries = [query] if isinstance(query, str) else list(query)
    if not queries or not all(text.strip() for text in queries):
        raise InvalidRequest("query", "must not be empty")
    if not 1 <= limit <= LIMIT:
        raise InvalidRequest("limit", f"must be from 1 to {LIMIT}")
    if score_floor is not None and not math.isfinite(score_floor):
        raise InvalidRequest("score_floor", "must be a finite number")
    # Tokenizers take no lone surrogates, which JSON can carry.
    return [text.encode("utf-8", "replace").decode() for text in queries]
