"""A deterministic embedder: words hashed into a bag. No model, no network."""

import hashlib
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def count_words(text: str) -> int:
    """Tokens as the fake embedder counts them: words and marks, and two special ones."""
    return len(re.findall(r"\w+|[^\w\s]", text)) + 2


class BagEmbedder:
    """Counts its calls in `embedded`, the texts it was given."""

    def __init__(self, identity: str = "bag@1", dimension: int = 64, max_tokens: int = 256) -> None:
        self.identity = identity
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.embedded: list[str] = []

    async def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"]
    ) -> NDArray[np.float32]:
        self.embedded += texts
        return np.stack([self._vector(text) for text in texts])

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [count_words(text) for text in texts]

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self.dimension, np.float32)
        vector[0] = 0.01  # text without words has a direction, too
        for word in re.findall(r"\w+", text.casefold()):
            digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
            vector[int.from_bytes(digest) % self.dimension] += 1
        return vector / np.linalg.norm(vector)


class UnreadyEmbedder(BagEmbedder):
    """Stands for a model that is still loading: every question is an error."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"asked for {name} before it was needed")
