import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.evaluation.bootstrap import interval, resampled_means
from clients.evaluation.main import main
from clients.evaluation.scoring import Rules, Weights, figures

TRUTH = [
    ("id", "answer_value", "ref_id", "Quote", "is_NA"),
    ("q1", "5", "['a']", "1", "0"),
    ("q2", "[80, 90]", "['a', 'b']", "1", "0"),
    ("q3", "is_blank", "is_blank", "0", "1"),
    ("q4", "Solar", "['c']", "0", "0"),
]
RUN = [
    ("id", "answer_value", "ref_id"),
    ("Q4 ", "wind", "['c']"),
    ("q1", "about 5", "a"),
    ("q2", "85", "['a']"),
    ("q3", "n/a", "[]"),
]

IDS = ("q1", "q2", "q3", "q4")


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write(tmp_path / "truth.csv", TRUTH)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "run.csv", RUN)


def scored(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    assert main(["score", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main(["score", *map(str, argv)]) == 1
    return capsys.readouterr().err


def test_the_parts_and_the_whole(
    truth: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scored(capsys, truth, run)
    assert found["value"] == 0.75
    assert found["reference"] == (1 + 0.5 + 0 + 1) / 4
    assert found["na_recall"] == 1
    assert found["overall"] == pytest.approx(0.75 * 0.75 + 0.15 * 0.625 + 0.1)
    assert found["questions"] == 4
    assert not found["partial"]
    assert found["by_evidence"]["Quote"] == {
        "questions": 2,
        "overall": pytest.approx(0.75 + 0.15 * 0.75 + 0.1),
        "value": 1,
        "reference": 0.75,
        "na_recall": 1,
    }
    low, high = found["intervals"]["overall"]
    assert low < found["overall"] < high


def test_several_runs_are_rows_of_one_table(
    truth: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first").mkdir()
    other = write(tmp_path / "first" / "submission.csv", [RUN[0], *((q, "", "") for q in IDS)])
    alone = scored(capsys, truth, run)
    both = scored(capsys, truth, run, other)["submissions"]
    assert both[0] == {"submission": str(run)} | alone
    assert both[1]["overall"] == pytest.approx(0.75 * 0.25 + 0.1)
    assert main(["score", str(truth), str(run), str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if "0." in line] == ["run", "first"]
    half = write(tmp_path / "half.csv", RUN[:2])
    assert str(half) in refused(capsys, truth, run, half)


def test_the_same_seed_gives_the_same_intervals(
    truth: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = scored(capsys, truth, run), scored(capsys, truth, run)
    assert first["intervals"] == again["intervals"]


def test_weights_columns_and_evidence_can_be_named(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = ("number", "value", "documents", "Chart", "x")
    other = write(tmp_path / "other.csv", [head, *TRUTH[1:]])
    mine = write(tmp_path / "mine.csv", [head[:3], *RUN[1:]])
    named = "id=number,value=value,reference=documents"
    found = scored(
        capsys, other, mine, "--columns", named, "--weights", "value=1,reference=0,na=0",
        "--evidence", "Chart",
    )  # fmt: skip
    assert found["overall"] == found["value"] == 0.75
    assert list(found["by_evidence"]) == ["Chart"]
    assert "no column 'id'" in refused(capsys, other, run)


def test_a_partial_run_is_not_scored_as_if_it_were_whole(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = write(tmp_path / "half.csv", [*RUN[:2], ("q9", "1", "a")])
    told = refused(capsys, truth, half)
    assert f"3 only in {truth} (q1, q2, q3; the first: {truth}, row 1 (line 2)" in told
    assert "1 only in" in told
    assert "q9" in told
    assert "--partial" in told
    found = scored(capsys, truth, half, "--partial")
    assert found["partial"]
    assert found["questions"] == 1
    assert (found["missing"], found["extra"]) == (["q1", "q2", "q3"], ["q9"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([RUN[0], RUN[1], RUN[1]], "row 2 (line 3), column 'id': 'Q4' stands there already"),
        ([RUN[0], ("", "1", "a")], "row 1 (line 2), column 'id': the id is empty"),
        ([RUN[0], ("q1", "1")], "row 1 (line 2): it has 2 fields, the head has 3"),
        ([("id", "id", "x")], "the column 'id' stands there twice"),
        ([("id", "value")], "no column 'answer_value', 'ref_id'; it has: id, value"),
        ([("id;answer_value;ref_id",)], "separated by commas"),
        ([RUN[0]], "has no rows"),
        ([], "is empty"),
    ],
)
def test_bad_files_are_named(
    truth: Path,
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = write(tmp_path / "bad.csv", rows)
    message = refused(capsys, truth, bad)
    assert str(bad) in message
    assert told in message


def test_bad_quotes_and_missing_files_are_named(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text('id,answer_value,ref_id\nq1,"5"x,a\n')
    assert f"{bad}, line 2: it is not valid CSV" in refused(capsys, truth, bad)
    assert "Cannot read" in refused(capsys, truth, tmp_path / "none.csv")


def test_encodings_and_line_breaks_in_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'id,answer_value,ref_id,note\r\nq1,Café,a,"two\r\nlines"\r\nq2,5,a,\r\n\r\n'
    truth = tmp_path / "truth.csv"
    truth.write_bytes(text.encode("utf-8-sig"))
    for encoding, guessed in (
        ("latin-1", True),
        ("utf-16", False),
        ("utf-16-le", False),
        ("utf-16-be", False),
    ):
        run = tmp_path / f"{encoding}.csv"
        run.write_bytes(text.encode(encoding))
        found = scored(capsys, truth, run)
        assert found["value"] == 1
        assert bool(found["warnings"]) is guessed
    run.write_text(text.replace("q2", "q1"), newline="")
    assert "row 2 (line 4)" in refused(capsys, truth, run)


def test_unparsable_lists_and_flags(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run.csv", [*RUN[:-1], ("q3", "[1, 2", "[]")])
    warned = scored(capsys, truth, run)["warnings"]
    assert "row 4 (line 5), column 'answer_value': a list begins" in warned[0]
    broken = write(tmp_path / "broken.csv", [*TRUTH[:-1], ("q4", "[1", "c", "0", "0")])
    assert "column 'answer_value': a list begins" in refused(capsys, broken, run)
    flagged = write(tmp_path / "flags.csv", [*TRUTH[:-1], ("q4", "1", "c", "maybe", "0")])
    assert "row 4 (line 5), column 'Quote': 'maybe'" in refused(capsys, flagged, run)
    run = write(tmp_path / "run.csv", [("id", "answer_value", "ref_id", "Quote"),
                                       *((*row, "maybe") for row in RUN[1:])])  # fmt: skip
    warned = scored(capsys, truth, run)["warnings"]
    assert any("run.csv, row 1 (line 2), column 'Quote': 'maybe'" in one for one in warned)


def test_json_that_lacks_fields_or_is_no_lines_is_named(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [dict(zip(RUN[0], row, strict=True)) for row in RUN[1:]]
    del rows[1]["answer_value"]
    run = tmp_path / "run.jsonl"
    run.write_text("\n\n".join(map(json.dumps, rows)))
    assert "run.jsonl, row 2 (line 3): there is no 'answer_value'" in refused(capsys, truth, run)
    whole = tmp_path / "run.json"
    whole.write_text(json.dumps(rows))
    assert "an object a line" in refused(capsys, truth, whole)


def test_squad_from_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, run = tmp_path / "truth.jsonl", tmp_path / "run.jsonl"
    asked = [("a", ["Paris", "the city"]), ("b", []), ("c", ["red"]), ("d", [])]
    truth.write_text("".join(json.dumps({"id": i, "answers": a}) + "\n" for i, a in asked))
    said = {"a": "in Paris", "b": "", "c": "is_blank", "d": "42"}
    lines = [json.dumps({"id": i, "answer_value": v}) for i, v in said.items()]
    run.write_text("\n".join(lines))
    assert scored(capsys, truth, run, "--metric", "squad") == scored(capsys, truth, run)
    found = scored(capsys, truth, run)
    assert found["f1"] == found["overall"] == pytest.approx((2 / 3 + 1) / 4)
    assert found["exact_match"] == 0.25
    assert found["f1_answerable"] == pytest.approx(1 / 3)
    assert (found["na_recall"], found["answered"], found["balanced_accuracy"]) == (0.5, 0.5, 0.5)
    run.write_text("\n".join([*lines, "{"]))
    assert "line 5" in refused(capsys, truth, run, "--metric", "squad")


@pytest.mark.parametrize(
    "option",
    [["--weights", "value=x"], ["--weights", "price=1"], ["--weights", "value=-1"],
     ["--columns", "id"], ["--columns", "units=x"], ["--rounds", "-1"]],
)  # fmt: skip
def test_bad_options_are_named(
    truth: Path, run: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert option[0] in refused(capsys, truth, run, *option)


def test_the_table_for_people(truth: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(truth), str(run)]) == 0
    out = capsys.readouterr().out
    assert "0.756" in out
    assert "Quote" in out


def test_na_recall_of_resamples_without_a_blank_truth_is_one() -> None:
    found = figures(Rules(weights=Weights(0, 0, 1)), np.array([[1, 1, 0, 0], [1, 1, 0, 0.5]]))
    assert found["overall"].tolist() == [1, 0]


def test_the_bootstrap_covers_what_theory_says() -> None:
    parts = np.array([[1.0], [0.0]] * 200)
    found = interval(resampled_means(parts, 2000, 7)[:, 0])
    assert found.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.01)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.01)


def test_rows_of_few_kinds_are_resampled_as_rows_are() -> None:
    few = np.array([[1.0, 0.2], [0.0, 0.2], [0.0, 0.9]] * 100)
    many = few + np.arange(300)[:, None] * 1e-9  # no two alike
    for column in (0, 1):
        by_kind, by_row = (
            interval(resampled_means(parts, 4000, 1)[:, column]) for parts in (few, many)
        )
        assert by_kind.low == pytest.approx(by_row.low, abs=0.01)
        assert by_kind.high == pytest.approx(by_row.high, abs=0.01)


def test_the_interval_is_between_the_percentiles() -> None:
    samples = np.random.default_rng(3).normal(size=777)
    found = interval(samples)
    low, high = np.percentile(samples, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_unknown_subcommands_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scoer"]) == 2
    assert "Did you mean 'score'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "score" in capsys.readouterr().out
    assert main([]) == 2


def test_the_order_of_references_is_scored_as_a_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, run = tmp_path / "truth.csv", tmp_path / "run.csv"
    truth.write_text("id,ref_id\nq1,\"['a', 'b']\"\nq2,['c']\nq3,is_blank\n")
    run.write_text("id,ref_id\nq1,\"['A', 'x', 'b']\"\nq2,\"['x', 'c', 'c']\"\nq3,['x']\n")
    assert main(["score", str(truth), str(run), "--metric", "retrieval", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    second = 1 / math.log2(3)
    first = (1 + 1 / math.log2(4)) / (1 + second)
    assert found["ndcg@10"] == found["overall"] == pytest.approx((first + second) / 2)
    assert found["recall@10"] == 1.0
    assert found["mrr@10"] == pytest.approx(0.75)
