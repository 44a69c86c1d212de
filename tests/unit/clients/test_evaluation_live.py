import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.evaluation.dataset import Pairing
from clients.evaluation.live import ABLATIONS, Run, compare
from clients.evaluation.main import main
from clients.evaluation.scoring import Grades, Rules
from tests.unit.clients.conftest import ENSEMBLE, USAGE, Gateway

SUMMARY: dict[str, Any] = {"completion_tokens": 5, "latency_ms": {"p50": 10.0}, "machine": {}}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": "q1", "question": "How long?", "answers": ["36 months"]},
        {"id": "q2", "question": "Who?", "answers": []},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def answers(gateway: Gateway) -> None:
    message = {"role": "assistant", "content": "36 months [1]"}
    gateway.says(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
            "ensemble": ENSEMBLE,
        }
    )


def asked(gateway: Gateway) -> list[dict[str, Any]]:
    """What the requests changed of the ensemble, each once."""
    found: list[dict[str, Any]] = []
    for body in gateway.bodies:
        if body["ensemble"] not in found:
            found.append(body["ensemble"])
    return found


def run(right: list[float], answered: list[float], *, name: str = "") -> Run:
    """A run over questions of which the second half has no answer."""
    n = len(right)
    none = np.arange(n) >= n // 2
    blank = 1 - np.array(answered)
    f1 = np.where(none, blank, right)
    parts = np.stack([f1, f1, none, none & (blank > 0), ~none & (blank == 0), f1 * ~none], axis=1)
    grades = Grades(
        rules=Rules(metric="squad"),
        parts=parts.astype(float),
        pairing=Pairing(rows=[(at, at) for at in range(n)], missing=[], extra=[]),
        right=f1 > 0,
        blank=blank > 0,
        evidence={},
    )
    return Run(name=name, kind="member", grades=grades, summary=SUMMARY)


def test_members_are_asked_alone_and_ingredients_left_out(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(gateway)
    argv = ["live", "--questions", str(questions), "--url", gateway.url, "--store", "s"]
    argv += ["--output", str(tmp_path), "--concurrency", "1", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["questions"], found["unanswerable"]) == (2, 1)
    rows = {row["name"]: row for row in found["rows"]}
    same = {name for name, changed in ABLATIONS.items() if changed.strategy == "majority"}
    alone = {"evidence_floor": -1.0, "confidence_floor": 0.0, "whole_phrases": False}
    alone["vector_store_ids"] = ["s"]
    assert set(rows) == {
        "the ensemble",
        "member first",
        "member second",
        "self-consistency of first",
        "one member, all else",
        *(set(ABLATIONS) - same),
    }
    changes = asked(gateway)
    assert changes[0] == {"vector_store_ids": ["s"]}
    assert changes[1] == {"members": ["first"], **alone}
    twice = {"members": ["first"] * 2, "strategy": "majority", "early_stop": False}
    assert changes[3] == {**twice, **alone}
    assert rows["the ensemble"]["figures"]["balanced_accuracy"] == 0.5
    assert rows["the ensemble"]["ahead"] == {}
    assert rows["member first"]["ahead"]["f1_answerable"]["mean"] == 0.0
    assert [body["temperature"] for body in gateway.bodies if "temperature" in body] == [0.7, 0.7]
    before = len(gateway.bodies)
    assert main(argv) == 0  # all is answered
    assert len(gateway.bodies) == before


def test_a_lead_is_paired_and_doubted() -> None:
    better = run([1.0] * 40, [1.0] * 20 + [0.0] * 20)
    worse = run([0.0, 1.0] * 20, [1.0] * 40)
    first, second = compare([better, worse], rounds=200)
    assert first.figures["f1_answerable"] == 1.0
    assert second.ahead["f1_answerable"].mean == pytest.approx(0.5)
    assert second.ahead["f1_answerable"].beats
    assert second.ahead["balanced_accuracy"].mean == pytest.approx(0.5)
    _, itself = compare([worse, worse], rounds=200)
    assert (itself.ahead["f1_answerable"].low, itself.ahead["f1_answerable"].high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("argv", "why"),
    [(["--consistency", "nobody"], "nobody"), (["--documents", "."], "--store")],
)
def test_what_cannot_be_asked(
    gateway: Gateway,
    questions: Path,
    tmp_path: Path,
    argv: list[str],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers(gateway)
    common = ["live", "--questions", str(questions), "--url", gateway.url, "--output"]
    assert main([*common, str(tmp_path), *argv]) == 1
    assert why in capsys.readouterr().err
