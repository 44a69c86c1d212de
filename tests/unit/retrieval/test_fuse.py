import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.fuse import Weights, distinct, diverse, fuse

cosines = st.dictionaries(st.integers(0, 20), st.floats(-1, 1), min_size=1)
scores = st.dictionaries(st.integers(0, 20), st.floats(0, 40))


@given(cosines, scores)
def test_relevance_is_from_0_to_1_for_each_passage(
    near: dict[int, float], words: dict[int, float]
) -> None:
    words = {chunk: score for chunk, score in words.items() if chunk in near}
    found = fuse(near, words, Weights())
    assert found.keys() == near.keys()
    assert all(0 <= value <= 1 for value in found.values())


@given(cosines, scores)
def test_one_weight_alone_is_that_order_alone(
    near: dict[int, float], words: dict[int, float]
) -> None:
    words = {chunk: score for chunk, score in words.items() if chunk in near}
    by_vector = fuse(near, words, Weights(embedding=1, text=0))
    assert by_vector == {chunk: min(max(cosine, 0.0), 1.0) for chunk, cosine in near.items()}
    by_words = fuse(near, words, Weights(embedding=0, text=1))
    best = max(words.values(), default=0.0) or 1.0
    assert by_words == {chunk: words.get(chunk, 0.0) / best for chunk in near}


def test_words_decide_between_equally_near_passages_and_nearness_between_equal_words() -> None:
    found = fuse({1: 0.5, 2: 0.5, 3: 0.6}, {2: 9.0, 3: 9.0}, Weights())
    assert sorted(found, key=lambda chunk: -found[chunk]) == [3, 2, 1]


@pytest.mark.parametrize(("bm25", "first"), [(2.0, 1), (12.0, 2)])
def test_words_that_tell_little_count_for_little(bm25: float, first: int) -> None:
    found = fuse({1: 0.7, 2: 0.3}, {2: bm25, 1: bm25 / 4}, Weights())
    assert max(found, key=found.__getitem__) == first


def test_vectors_have_a_say_however_many_words_a_query_has() -> None:
    found = fuse({1: 0.9, 2: 0.1}, {1: 800.0, 2: 1000.0}, Weights())
    assert found[1] > found[2]


@pytest.mark.parametrize("pair", [(0, 0), (-1, 1), (math.nan, 1), (math.inf, 1)])
def test_weights_that_are_none(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Weights(embedding=pair[0], text=pair[1])


def test_repetitions_are_left_out_and_other_figures_are_not_repetitions() -> None:
    row = "The scanner lamp of model {} has failed, so call the service desk and ask for a new one."
    texts = [row.format(12), row.format(12).upper(), row.format(13), "lamp", "  Lamp ", "!!", "!!"]
    assert distinct(texts, 10) == [0, 2, 3, 5]
    assert distinct(texts, 2) == [0, 2]


def test_diversity_prefers_what_is_unlike() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diverse([0.9, 0.8, 0.5], vectors, 0.0, 3) == [0, 1, 2]
    assert diverse([0.9, 0.8, 0.5], vectors, 0.5, 2) == [0, 2]
