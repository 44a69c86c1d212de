from pathlib import Path
from typing import Any

import pytest

from clients.answer import Answer
from clients.api import ClientError
from clients.bench.questions import Question, read_questions, says, score

ASKED = [
    Question(question="How long?", answers=["12 seconds", "12 s"], file="routers.md"),
    Question(question="Who?", answers=["Ann"], file="people.md"),
    Question(question="Why?"),
]


def vote(value: str, document: str, *, grounded: bool = True) -> dict[str, Any]:
    return {
        "model": "m",
        "answer": "",
        "answer_value": value,
        "answer_unit": "",
        "is_blank": not value,
        "ref_id": [document] if value else [],
        "passages": [1] if value else [],
        "weight": 1.0,
        "grounded": grounded,
        "latency_ms": 1.0,
    }


def answer(text: str, value: str, document: str, *votes: dict[str, Any]) -> Answer:
    report = {
        "strategy": "majority",
        "execution": "parallel",
        "explanation": "",
        "answer_value": value,
        "answer_unit": "",
        "is_blank": not value,
        "ref_id": [document] if value else [],
        "agreement": 1.0,
        "confidence": 1.0,
        "votes": list(votes),
        "sources": [],
    }
    return Answer(model="rag", answer=text, ensemble=report)


def test_the_vote_and_each_member_are_scored_beside_each_other() -> None:
    found = [
        answer(
            "Hold it for 12 seconds. [1]",
            "12 seconds",
            "routers",
            vote("12 seconds", "routers"),
            vote("5", "routers"),
        ),
        answer("It is Ann. [1]", "Ann", "wrong", vote("Ann", "people"), vote("Ann", "people")),
        answer("The documents do not say.", "", "", vote("Bob", "people"), vote("", "")),
    ]
    whole, first, second = score(ASKED, [(each, 0.5) for each in found])
    assert (whole.right, whole.value, whole.answerable) == (1, 2, 2)
    assert (whole.declined, whole.declined_wrongly, whole.unanswerable) == (1, 0, 1)
    assert whole.seconds == 0.5
    assert (first.name, first.right, first.declined) == ("member 1: m", 2, 0)
    assert (second.right, second.declined) == (1, 1)


def test_an_answer_without_votes_is_no_ensembles() -> None:
    with pytest.raises(ClientError, match="no ensemble"):
        score(ASKED[:1], [(Answer(model="plain", answer="12 s"), 0.1)])


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("Hold it for 12 seconds.", ["12 seconds"], True),
        ("It takes 112 seconds.", ["12 seconds"], False),
        ("Call **Ann**, please", ["ann"], True),
        ("It costs £7.50.", ["£7.50"], True),
        ("", ["x"], False),
        ("x", [], False),
    ],
)
def test_it_says_what_it_says(text: str, wanted: list[str], said: bool) -> None:
    assert says(text, wanted) == said


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "a"}\n\n{"answers": []}\n')
    with pytest.raises(ClientError, match=r"q\.jsonl, line 3: .*question"):
        read_questions(file)
    file.write_text("")
    with pytest.raises(ClientError, match="no questions"):
        read_questions(file)
    with pytest.raises(ClientError, match="Cannot read"):
        read_questions(tmp_path / "missing")


def test_the_shipped_questions_can_be_read() -> None:
    for path in Path("tests/data").glob("*.jsonl"):
        assert len(read_questions(path)) >= 30
