from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.segment_rows import SegmentRows, write_rows
from retrieval.vector_index import LEAST_EXPANSION, ExactIndex, GraphIndex, write_graph


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


def written(folder: Path, vectors: NDArray[np.float32]) -> SegmentRows:
    count, dimension = vectors.shape
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_rows(folder / "rows", dimension, [(np.arange(count, dtype=np.int64), vectors)])
    return SegmentRows(folder / "rows", dimension, count)


def test_a_graph_is_searched_as_widely_as_its_vectors_ask_for(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    easy, hard = tmp_path / "easy", tmp_path / "hard"
    plane = draw.standard_normal((3000, 4)) @ draw.standard_normal((4, 128))
    everywhere = draw.standard_normal((3000, 128))
    expansions: list[int] = []
    for folder, vectors in ((easy, plane), (hard, everywhere)):
        folder.mkdir()
        rows = written(folder, vectors.astype(np.float32))
        expansions.append(write_graph(folder / "graph", 128, rows))
    assert expansions[0] == LEAST_EXPANSION < expansions[1]


@pytest.mark.parametrize("same", [False, True])
def test_all_rows_are_in_a_graph_also_those_that_it_was_measured_with(
    tmp_path: Path, same: bool
) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((1 if same else 500, 32)).astype(np.float32)
    rows = written(tmp_path, np.repeat(vectors, 500, axis=0) if same else vectors)
    expansion = write_graph(tmp_path / "graph", 32, rows)
    assert expansion == LEAST_EXPANSION  # of equals, it does not matter which are found
    graph = GraphIndex(tmp_path / "graph", 32, expansion)
    assert len(graph) == 500
    if not same:
        found = [graph.search(vector, 1)[0] for batch in rows.batches() for vector in batch]
        assert found == list(range(500))


@pytest.mark.parametrize("count", [1, 99, 101])
def test_few_rows_are_a_graph_too(tmp_path: Path, count: int) -> None:
    rows = written(tmp_path, np.random.default_rng(0).random((count, 8)).astype(np.float32))
    expansion = write_graph(tmp_path / "graph", 8, rows)
    graph = GraphIndex(tmp_path / "graph", 8, expansion)
    assert sorted(graph.search(np.ones(8, np.float32), 200)) == list(range(count))
