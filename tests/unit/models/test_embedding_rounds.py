"""The rounds of `jurat bench-engine --embeddings`: every text is embedded, so many at a time."""

import pytest

from models.errors import ModelError
from models.worker.embedding_rounds import loop_rate, texts_of
from tests.unit.models.test_embedding import Letters


@pytest.mark.parametrize("clients", [1, 3])
def test_each_client_has_one_text_under_way(clients: int) -> None:
    encoder = Letters()
    texts = ["aa", "bb", "cc", "dd", "ee"]
    assert loop_rate(encoder, texts, clients) > 0
    read = [bytes(row[1:-1]).decode() for rows in encoder.passes for row in rows]
    assert sorted(read) == texts
    assert max(map(len, encoder.passes)) == clients


def test_a_round_that_fails_says_so() -> None:
    encoder = Letters()
    encoder.broken = True
    with pytest.raises(ModelError):
        loop_rate(encoder, ["a"], 1)


def test_texts_are_the_same_for_the_same_seed() -> None:
    assert texts_of("0/1", 4) == texts_of("0/1", 4) != texts_of("0/2", 4)
