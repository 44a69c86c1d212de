from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import IndexDamaged
from retrieval.keyword_index import KeywordIndex
from tests.unit.retrieval.test_indexes import spoiled

TEXTS = [
    (3, "The quick foxes jumped over a fence"),
    (5, "Die Größe der Straße beträgt 1,234 m"),
    (8, "東京都の人口は約1400万人です"),
    (9, "War and peace, a novel; the war of 1812"),
]


@pytest.fixture
def index(tmp_path: Path) -> KeywordIndex:
    made = KeywordIndex(tmp_path / "words")
    made.apply(TEXTS)
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a fox that jumps", [3]),
        ("What is the GRÖSSE of it?", [5]),
        ("Wie ist die Größe?", [5]),
        ("1234", [5]),
        ("人口", [8]),
        ("What caused the war?", [9]),  # a stop word in German, and not here
        ("the", [3, 9]),  # nothing but stop words: they are what is asked
        ("zebra", []),
        ("!?", []),
    ],
)
def test_any_word_of_the_query_will_do(index: KeywordIndex, query: str, found: list[int]) -> None:
    assert index.search(query, 10).ids.tolist() == found


def test_a_filter_is_complete(index: KeywordIndex) -> None:
    assert index.search("fox war", 1, np.array([5, 9])).ids.tolist() == [9]
    assert index.search("fox war", 1, np.array([], np.int64)).ids.tolist() == []


def test_what_is_deleted_never_comes_back(index: KeywordIndex, tmp_path: Path) -> None:
    index.apply([(12, "another fox")], removed=[3, 9])
    for opened in (index, KeywordIndex(tmp_path / "words")):
        assert opened.search("fox war", 10).ids.tolist() == [12]
        assert opened.ids().tolist() == [5, 8, 12]
        assert opened.newest() == 12
        assert len(opened) == 3


def test_files_that_were_changed_are_damage(index: KeywordIndex, tmp_path: Path) -> None:
    file = next((tmp_path / "words").glob("*.idx"))
    spoiled(file)
    with pytest.raises(IndexDamaged, match="changed"):
        KeywordIndex(tmp_path / "words")


@pytest.mark.parametrize("name", ["state.json", "meta.json"])
def test_files_that_are_gone_or_garbage_are_damage(
    index: KeywordIndex, tmp_path: Path, name: str
) -> None:
    (tmp_path / "words" / name).write_text("{")
    with pytest.raises(IndexDamaged):
        KeywordIndex(tmp_path / "words")


def test_another_format_is_damage(
    index: KeywordIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.keyword_index._FORMAT", "0.0")
    with pytest.raises(IndexDamaged, match="format"):
        KeywordIndex(tmp_path / "words")
