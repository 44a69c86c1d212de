import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from clients.evaluation.experiment import Record, write_run
from clients.evaluation.main import main

N = 20


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.csv"
    rows = [f"q{n},Why <{n}>?,{n},['a'],1" for n in range(N)]
    path.write_text("\n".join(["id,question,answer_value,ref_id,Quote", *rows]) + "\n")
    return path


def records(**first: Any) -> list[Record]:
    """A clean run, but for what is given for its first question."""
    found: list[Record] = []
    for n in range(N):
        fields: dict[str, Any] = {
            "answer_value": str(n if n % 2 else n + 100),
            "answer": f"It is {n}.",
            "ref_id": ["a"],
            "explanation": "It says so.",
            "latency_ms": 10.0,
            "prompt_tokens": 5,
            "completion_tokens": 5,
        }
        fields |= first if n == 0 else {}
        found.append(Record(id=f"q{n}", question=f"Why <{n}>?", **fields))
    return found


OVERALL = 0.75 * 0.5 + 0.15 + 0.1


def audited(capsys: pytest.CaptureFixture[str], *argv: object) -> list[dict[str, Any]]:
    assert main(["audit", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["findings"]


def test_a_clean_run_has_no_findings(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs" / "clean", records(), {"score": {"overall": OVERALL}})
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("x")
    argv = ["--questions", truth, "--experiments-dir", tmp_path / "runs"]
    assert audited(capsys, *argv, "--corpus", tmp_path / "corpus") == []
    assert main(["audit", *map(str, argv), "--strict"]) == 0
    assert "no findings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        ({"explanation": ""}, "empty explanation"),
        ({"answer": "why  <0>?"}, "answer is the prompt"),
        ({"answer_value": "Why <0>?"}, "answer is the prompt"),
        ({"ref_id": ["b"]}, "unknown reference"),
        ({"error": "It broke."}, "error rate"),
        ({"prompt_tokens": None}, "missing token counts"),
        ({"latency_ms": 1000.0}, "latency outlier"),
        ({"answer_value": "[1, 2"}, "unparsable value"),
    ],
)
def test_findings(
    truth: Path,
    tmp_path: Path,
    first: dict[str, Any],
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(tmp_path / "odd", records(**first), {"score": {}})
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("id\nA\n")
    argv = [tmp_path / "odd", "--questions", truth, "--metadata", metadata]
    found = audited(capsys, *argv)
    assert [one["kind"] for one in found] == [kind]
    if kind != "unparsable value":
        assert found[0]["ids"] == ["q0"]
    assert main(["audit", *map(str, argv), "--strict"]) == 1


def test_findings_about_whole_runs(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "one", records(), {"score": {"overall": OVERALL}})
    write_run(runs / "same", records(), {"score": {"overall": 0.9}})
    write_run(runs / "half", records()[:5], {"score": {"overall": OVERALL}})
    write_run(runs / "torn", records(answer="!"), {})
    (runs / "torn" / "summary.json").unlink()
    found = audited(capsys, "--questions", truth, "--experiments-dir", runs)
    assert {(one["run"], one["kind"]) for one in found} == {
        ("same", "duplicate run"),
        ("same", "score inconsistency"),
        ("torn", "no summary"),
        ("half", "cannot be scored"),
    }
    partial = audited(capsys, "half", "--questions", truth, "--experiments-dir", runs, "--partial")
    assert ("half", "partial run") in {(one["run"], one["kind"]) for one in partial}


def test_the_matrix(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "one", records(answer_value="<b>"), {})
    write_run(runs / "two", records(answer_value="0"), {})
    argv = ["--questions", truth, "--experiments-dir", runs, "--output", tmp_path / "m.csv"]
    assert main(["matrix", *map(str, argv), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == {"one": 0.5, "two": 0.55}
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "id": "q0", "question": "Why <0>?", "evidence": "Quote", "truth": "0",
        "one": "<b>", "one right": "0", "two": "0", "two right": "1", "right": "1",
    }  # fmt: skip
    page = (tmp_path / "m.html").read_text()
    assert "<td>Why &lt;0&gt;?</td>" in page
    assert '<td class="wrong">&lt;b&gt;</td><td class="right">0</td>' in page
    assert len(re.findall("<tr>", page)) == N + 2
    assert "http" not in page.replace("</html>", "")  # it stands alone


def test_the_matrix_of_partial_runs(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "half", records()[:5], {})
    argv = ["matrix", str(tmp_path / "half"), "--questions", str(truth)]
    argv += ["--output", str(tmp_path / "m")]
    assert main(argv) == 1
    assert "--partial" in capsys.readouterr().err
    assert main([*argv, "--partial"]) == 0
    with (tmp_path / "m.csv").open(newline="") as file:
        assert [row["half right"] for row in csv.DictReader(file)][4:6] == ["0", ""]


def test_runs_of_other_questions_are_left_out_unless_they_are_named(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "far", [Record(id="else", answer_value="1", explanation="x")], {})
    argv = ["--questions", str(truth), "--experiments-dir", str(runs)]
    assert main(["matrix", *argv, "--output", str(tmp_path / "m")]) == 1
    assert "No experiment is of the questions of" in capsys.readouterr().err
    write_run(runs / "mine", records(), {})
    assert main(["matrix", *argv, "--output", str(tmp_path / "m"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert list(json.loads(out)["runs"]) == ["mine"]
    assert "of other questions: far" in err
    assert audited(capsys, *argv) == []
    assert main(["matrix", "far", "mine", *argv, "--output", str(tmp_path / "m")]) == 1
    assert "in common" in capsys.readouterr().err


def test_interrupted_and_unknown_runs_are_named(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "torn").mkdir(parents=True)
    argv = ["audit", "--questions", str(truth), "--experiments-dir", str(tmp_path / "runs")]
    assert main([*argv, "torn"]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert main([*argv, "none"]) == 1
    assert "no experiment 'none'" in capsys.readouterr().err
    assert main(argv) == 1
    assert "no experiments in" in capsys.readouterr().err
