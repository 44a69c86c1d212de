import math
from pathlib import Path

import pytest

from clients.evaluation.beir import read_collection
from clients.evaluation.dataset import DatasetError
from clients.evaluation.ranking import (
    answers_of,
    discounted_gain,
    has_text,
    has_whole,
    recall,
    reciprocal_rank,
)

RELEVANT = {"a": 2.0, "b": 1.0, "z": 0.0}


def test_measures_of_a_ranking() -> None:
    ranked = ["x", "b", "a"]
    ideal = 2 + 1 / math.log2(3)
    assert discounted_gain(ranked, RELEVANT, 10) == pytest.approx((1 / math.log2(3) + 1) / ideal)
    assert discounted_gain(["a", "b"], RELEVANT, 10) == pytest.approx(1)
    assert discounted_gain(ranked, {}, 10) == 0
    assert (recall(ranked, RELEVANT, 2), recall(ranked, RELEVANT, 3)) == (0.5, 1.0)
    assert (reciprocal_rank(ranked, RELEVANT, 10), reciprocal_rank(ranked, RELEVANT, 1)) == (0.5, 0)


@pytest.mark.parametrize(
    ("field", "answers"),
    [
        ('["a reply", "another"]', ["a reply", "another"]),
        ("[]", []),
        ("[10,20]", ["[10,20]"]),
        ("4.3", ["4.3"]),
        ("is_blank", []),
        ("", []),
    ],
)
def test_answers_of_a_field(field: str, answers: list[str]) -> None:
    assert answers_of(field) == answers


@pytest.mark.parametrize(
    ("text", "answer", "held", "whole"),
    [
        ("It took 1,287 MWh.", "1287", True, True),
        ("It took 21287MWh.", "1287", True, False),
        ("about 4.3t", "4.3", True, True),
        ("about 14.3 t or 4.35 t", "4.3", True, False),
        ("from 10 to 20 people", "[10,20]", True, True),
        ("from 10 people", "[10,20]", False, False),
        ("The ML.ENERGY\nBenchmark", "ML.ENERGY benchmark", True, True),
        ("energetic", "energy", False, False),
        ("synergy", "Energy", False, False),
        ("bioenergy", "Energy", True, False),
        ("anything", " ", False, False),
    ],
)
def test_whether_a_passage_has_an_answer(text: str, answer: str, held: bool, whole: bool) -> None:
    assert has_text(text, answer) == held
    assert has_whole(text, answer) == whole


def collection(folder: Path, qrels: str) -> Path:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "T", "text": "one"}\n{"_id": "2", "text": ""}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "?"}\n{"_id": "r", "text": "!"}\n')
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_collection_without_what_is_dropped(tmp_path: Path) -> None:
    folder = collection(tmp_path, "query-id\tcorpus-id\tscore\nq\t1\t1\nr\t1\t1\nr\t9\t0\n")
    drop = tmp_path / "drop.tsv"
    drop.write_text("r\t1\t-1\n")
    found = read_collection(folder, None, drop)
    assert found.documents == {"1": "T\n\none"}
    assert found.queries == {"q": "?"}
    assert found.relevant == {"q": {"1": 1.0}}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    folder = collection(tmp_path, "q 1 1\n")
    with pytest.raises(DatasetError, match=r"test\.tsv, line 1"):
        read_collection(folder, None, None)
    with pytest.raises(DatasetError, match=r"none\.tsv"):
        read_collection(folder, tmp_path / "none.tsv", None)
