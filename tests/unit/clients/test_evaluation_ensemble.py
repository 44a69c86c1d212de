import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.evaluation.agreement import agreement_weights
from clients.evaluation.bootstrap import difference
from clients.evaluation.comparison import folds_of
from clients.evaluation.dataset import read_table
from clients.evaluation.experiment import read_records
from clients.evaluation.main import main
from gateway.ensemble.vote import Ballot

QUESTIONS = 12


def write(path: Path, head: list[str], rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rows = [[f"q{n}", f"How many of {n}?", str(100 + n), "['a']"] for n in range(QUESTIONS - 1)]
    rows.append(["q11", "Who?", "is_blank", "is_blank"])
    return write(tmp_path / "truth.csv", ["id", "question", "answer_value", "ref_id"], rows)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Each member is wrong elsewhere, so that two of three are always right; 'bad' is no help."""
    for member, wrong in (("one", 0), ("two", 1), ("three", 2), ("bad", None)):
        rows: list[list[str]] = []
        for n in range(QUESTIONS):
            right = wrong is not None and n % 3 != wrong
            value = str(100 + n) if right else f"{n}9.{wrong}"
            if n == QUESTIONS - 1:
                value = "is_blank"
            source = '["a"]' if right else '["b"]'
            rows.append([f"q{n}", value, "is_blank", source, f"said by {member}"])
        head = ["id", "answer_value", "answer_unit", "ref_id", "explanation"]
        write(tmp_path / "recorded" / f"{member}.csv", head, rows)
    return tmp_path / "recorded"


def voted(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    assert main(["ensemble", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_vote_that_is_worth_it(
    truth: Path, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = voted(capsys, "--recorded", recorded, "--questions", truth)
    assert found["strategy"] == "weighted"
    assert found["value"] == 1
    assert found["reference"] == 1
    best = found["best_member"]
    assert best["model"] in ("one", "two", "three")
    assert best["overall"] < found["overall"]
    assert found["versus_best_member"]["verdict"] == "beats"
    assert found["weights"]["bad"] < found["weights"]["one"]
    assert [one["model"] for one in found["members"]][-1] == "bad"
    assert found["oracle"]["value"] == 1
    assert found["random_member"]["overall"] < best["overall"]
    assert found["beforehand"]["overall"] <= best["overall"]
    assert set(found["strategies"]) == {
        "majority", "first_non_blank", "weighted", "weighted by labels",
    }  # fmt: skip
    assert set(found["not_applicable"]) == {"grounded", "confidence", "consensus", "judge"}


@pytest.mark.parametrize("strategy", ["confidence", "consensus", "judge"])
def test_a_strategy_that_needs_more_than_votes_is_not_applicable(
    truth: Path, recorded: Path, strategy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--recorded", str(recorded), "--questions", str(truth), "--strategy", strategy]
    assert main(["ensemble", *arguments]) == 1
    assert f"--strategy {strategy}: not applicable to recorded" in capsys.readouterr().err


def test_no_member_is_beaten_by_chance(
    truth: Path, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = voted(capsys, "--recorded", recorded, "--questions", truth)
    own = next(one for one in found["members"] if one["model"] == found["best_member"]["model"])
    assert own["versus_best_member"]["verdict"] == "no difference shown"
    assert own["folds"] == [0.0] * 5


def test_grounding_decides_where_votes_are_split(
    truth: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recorded / "three.csv").unlink()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("\f".join(f"There are {100 + n} of {n}." for n in range(11)))
    (corpus / "b.txt").write_text("Nothing about it.")
    argv = ("--recorded", recorded, "--questions", truth)
    found = voted(capsys, *argv, "--corpus", corpus)
    assert found["strategy"] == "grounded"
    assert found["strategies"]["grounded"]["value"] == 1
    assert found["strategies"]["majority"]["value"] < 1
    assert main(["ensemble", *map(str, argv), "--strategy", "grounded"]) == 1
    assert "--corpus" in capsys.readouterr().err


def test_a_name_writes_a_whole_experiment(
    truth: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [recorded / f"{name}.csv" for name in ("one", "two", "three")]
    out = tmp_path / "experiments"
    argv = ["--experiments", *files, "--questions", truth, "--name", "all3", "--output", out]
    found = voted(capsys, *argv)
    folder = out / "all3"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["overall"] == found["overall"]
    records = read_records(folder)
    assert len(records) == QUESTIONS
    assert records[0].explanation in ("said by two", "said by three")  # the two who are right
    assert records[0].ensemble is not None
    assert len(records[0].ensemble["votes"]) == 3
    assert main(["score", str(truth), str(folder / "submission.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overall"] == found["overall"]
    table = read_table(folder / "submission.csv", ["id", "ref_url", "question"])
    assert table.column("question")[0] == "How many of 0?"
    again = ["--experiments", "all3", recorded / "bad.csv", "--questions", truth, "--output", out]
    assert voted(capsys, *again)["best_member"]["model"] == "all3"
    assert main(["ensemble", *map(str, argv[:-3]), "../up"]) == 1


def test_members_that_lack_questions(
    truth: Path, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded / "one.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    argv = ["--recorded", recorded, "--questions", truth]
    assert main(["ensemble", *map(str, argv)]) == 1
    assert "q10, q11" in capsys.readouterr().err
    found = voted(capsys, *argv, "--partial")
    assert (found["questions"], found["left_out"]) == (10, 2)


def test_the_best_member_picked_by_other_questions(
    truth: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "train.csv", ["id", "answer_value", "ref_id"], [["t1", "7", "a"]])
    for path in recorded.iterdir():
        value = "7" if path.stem == "bad" else "8"
        head = ["id", "answer_value", "ref_id"]
        write(tmp_path / "train" / path.name, head, [["t1", value, "a"]])
    argv = ["--recorded", recorded, "--questions", truth, "--train", other]
    found = voted(capsys, *argv, "--train-recorded", tmp_path / "train")
    assert found["beforehand"]["overall"] == found["members"][-1]["overall"]
    assert main(["ensemble", *map(str, argv)]) == 1


def test_the_table_for_people(
    truth: Path, recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    argv = ["ensemble", "--recorded", str(recorded), "--questions", str(truth), "--ablation"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "weighted *" in out
    assert "weighted, equal weights" in out
    assert "oracle" in out


@pytest.mark.parametrize("argv", [["--recorded", "none"], ["--experiments", "none", "none2"]])
def test_what_is_not_there_is_named(
    truth: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ensemble", *argv, "--questions", str(truth)]) == 1
    assert "none" in capsys.readouterr().err


def test_who_agrees_with_the_others_weighs_more() -> None:
    batch = [[Ballot(value=value) for value in row] for row in (["1", "1", "2"], ["3", "3", "4"])]
    first, second, third = agreement_weights(batch)
    assert first == second > third
    failed = [Ballot(failed=True), Ballot(value="x"), Ballot(value="x")]
    assert agreement_weights([failed] * 50)[1] > 0.9
    assert agreement_weights([]) == []
    assert agreement_weights([[Ballot(value="a1"), Ballot(value="b1")]]) == [1.0, 1.0]


@given(st.integers(1, 60), st.integers(0, 5))
def test_folds_are_a_partition(questions: int, seed: int) -> None:
    folds = folds_of(questions, seed=seed)
    assert sorted(at for fold in folds for at in fold) == list(range(questions))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_beats_is_said_only_where_the_interval_excludes_zero() -> None:
    assert difference(0.02, np.linspace(0.01, 0.03, 100)).verdict == "beats"
    assert difference(0.02, np.linspace(-0.01, 0.05, 100)).verdict == "no difference shown"
    assert difference(-0.02, np.linspace(-0.03, -0.01, 100)).verdict == "loses"
