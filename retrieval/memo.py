"""Vectors of texts embedded lately, so that a question asked of the same passages costs little."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import embed_texts
from retrieval.types import Embedder

__all__ = ["VectorMemo"]

CAPACITY_BYTES = 32_000_000


class VectorMemo:
    """The least recently used give way. One per embedder.

    What one owner's documents say makes nothing faster for another.
    """

    def __init__(self, embedder: Embedder, capacity: int = CAPACITY_BYTES) -> None:
        self._embedder = embedder
        self._capacity = capacity
        self._vectors: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0

    async def embed(self, texts: Sequence[str], owner: str) -> NDArray[np.float32]:
        """Shape (texts, dimension). Raises what the embedder raises."""
        held = {text: self._vectors.get((owner, text)) for text in texts}
        found = {text: vector for text, vector in held.items() if vector is not None}
        missing = [text for text in held if text not in found]
        if missing:
            rows = await embed_texts(self._embedder, missing, "document")
            # Copies: a row of a batch would keep all of the batch.
            found |= {text: row.copy() for text, row in zip(missing, rows, strict=True)}
        for text, vector in found.items():
            self._keep((owner, text), vector)
        return np.stack([found[text] for text in texts])

    def _keep(self, key: tuple[str, str], vector: NDArray[np.float32]) -> None:
        if key not in self._vectors:
            self._bytes += _size(key, vector)
            self._vectors[key] = vector
        self._vectors.move_to_end(key)
        while self._bytes > self._capacity:
            old, dropped = self._vectors.popitem(last=False)
            self._bytes -= _size(old, dropped)


def _size(key: tuple[str, str], vector: NDArray[np.float32]) -> int:
    return vector.nbytes + len(key[1])
