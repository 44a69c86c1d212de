import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.vector_index import ExactIndex


def unit(count: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def test_k_beyond_the_index_gives_all_there_is() -> None:
    rows = unit(3)
    found, scores = ExactIndex(ids(7, 8, 9), rows).search(rows[1], 50)
    assert found[0] == 8
    assert sorted(found) == [7, 8, 9]
    np.testing.assert_allclose(scores, np.sort(rows @ rows[1])[::-1], atol=1e-6)


def test_empty() -> None:
    index = ExactIndex(ids(), np.empty((0, 0), np.float32))
    found, scores = index.search(unit(1)[0], 5)
    assert len(found) == len(scores) == len(index) == 0
    index.add(ids(4), unit(1))
    assert index.search(unit(1)[0], 5)[0].tolist() == [4]
    index.remove(ids(4))
    assert index.search(unit(1)[0], 5)[0].tolist() == []
    index.add(ids(5), unit(1))
    assert index.search(unit(1)[0], 5)[0].tolist() == [5]


@given(st.lists(st.tuples(st.sampled_from("ar"), st.integers(1, 5)), max_size=20))
def test_changes_keep_it_exact(changes: list[tuple[str, int]]) -> None:
    rows, query = unit(100), unit(1, seed=1)[0]
    held: list[int] = []
    index = ExactIndex(ids(), np.empty((0, 0), np.float32))
    added = 0
    for what, count in changes:
        if what == "a":
            new = list(range(added, added + count))
            added += count
            index.add(ids(*new), rows[new])
            held += new
        else:
            index.remove(ids(*held[:count], 10_000))
            del held[:count]
    found, _ = index.search(query, 1000)
    assert found.tolist() == sorted(held, key=lambda place: -float(rows[place] @ query))
