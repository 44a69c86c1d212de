from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.memo import VectorMemo


class Counting:
    """Embeds a text as its length, and notes what it was asked."""

    identity = "counting"
    dimension = 2
    max_tokens = 100

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str], kind: str) -> NDArray[np.float32]:
        assert kind == "document"
        self.asked.append(list(texts))
        return np.array([[len(text), 1] for text in texts], np.float32)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 for _ in texts]


def lengths(rows: NDArray[np.float32]) -> list[float]:
    ratio: NDArray[np.float32] = rows[:, 0] / rows[:, 1]  # whatever their length, in unit vectors
    return np.round(ratio).tolist()


async def test_a_text_is_embedded_once_and_the_order_is_kept() -> None:
    embedder = Counting()
    memo = VectorMemo(embedder)
    assert lengths(await memo.embed(["a", "bbb", "a"], "ann")) == [1, 3, 1]
    assert lengths(await memo.embed(["bbb", "cc", "a"], "ann")) == [3, 2, 1]
    assert embedder.asked == [["a", "bbb"], ["cc"]]


async def test_another_owner_gains_nothing_by_it() -> None:
    embedder = Counting()
    memo = VectorMemo(embedder)
    await memo.embed(["a"], "ann")
    await memo.embed(["a"], "bob")
    assert embedder.asked == [["a"], ["a"]]


async def test_the_least_recently_used_gives_way() -> None:
    embedder = Counting()
    memo = VectorMemo(embedder, capacity=2 * (8 + 1))
    for text in ("a", "b", "a", "c", "a", "b"):
        await memo.embed([text], "ann")
    assert embedder.asked == [["a"], ["b"], ["c"], ["b"]]
