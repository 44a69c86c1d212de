"""Questions with known answers: how often an ensemble, and each of its members, is right.

A file has one JSON object a line: `question`; `answers`, of which any will do, none if the
documents do not say; `file`, the name of the document that does.
"""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import msgspec
import openai
from msgspec import Struct

from clients.answer import Answer, whole
from clients.api import ClientError
from gateway.schema.ensemble import EnsembleReport

__all__ = ["Question", "Score", "ask_all", "read_questions", "says", "score"]

AT_ONCE = 3


class Question(Struct, frozen=True, kw_only=True):
    """A question and what is known of its answer."""

    question: str
    answers: list[str] = []
    file: str | None = None


class Score(Struct, frozen=True, kw_only=True):
    """What came of all questions. `right` has the fact and names its file, `value` the fact."""

    name: str
    right: int
    value: int
    answerable: int
    declined_wrongly: int
    declined: int
    unanswerable: int
    seconds: float | None = None  # a question, at the median


def read_questions(path: Path) -> list[Question]:
    """The file's questions. Raises ClientError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"Cannot read {path}: {error}.") from error
    found: list[Question] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Question))
            except msgspec.DecodeError as error:
                raise ClientError(f"{path}, line {number}: {error}.") from error
    if not found:
        raise ClientError(f"{path} has no questions.")
    return found


def ask_all(
    client: openai.OpenAI,
    model: str,
    questions: Sequence[Question],
    advance: Callable[[], None],
) -> list[tuple[Answer, float]]:
    """An answer and its seconds for each question, in order. Raises openai.OpenAIError."""

    def ask(question: Question) -> tuple[Answer, float]:
        begun = time.perf_counter()
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question.question}],
            # Every member's own figures are wanted, its vote needed or not.
            extra_body={"ensemble": {"early_stop": False}},
        )
        advance()
        return whole(completion), time.perf_counter() - begun

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(ask, questions))


def score(questions: Sequence[Question], answers: Sequence[tuple[Answer, float]]) -> list[Score]:
    """The ensemble's score, then each member's: its own vote, as if it were alone."""
    reports = [_report(answer) for answer, _ in answers]
    members = max((len(report.votes) for report in reports), default=0)
    whole_score = _score(
        "the vote",
        questions,
        [
            (answer.answer, report.answer_value, report.ref_id, report.is_blank)
            for (answer, _), report in zip(answers, reports, strict=True)
        ],
        median(seconds for _, seconds in answers),
    )
    found = [whole_score]
    for number in range(members):
        votes = [report.votes[number] if number < len(report.votes) else None for report in reports]
        names = [vote.model for vote in votes if vote is not None]
        found.append(
            _score(
                f"member {number + 1}: {names[0]}",
                questions,
                [
                    ("", "", [], True)
                    if vote is None
                    else (
                        vote.answer or vote.answer_value,
                        vote.answer_value,
                        vote.ref_id,
                        vote.is_blank or not vote.grounded,
                    )
                    for vote in votes
                ],
                None,
            )
        )
    return found


def says(text: str, answers: Sequence[str]) -> bool:
    """Whether a text has one of the answers, as whole words, whatever the case and punctuation."""
    words = f" {_plain(text)} "
    return any(f" {_plain(answer)} " in words for answer in answers)


def _plain(text: str) -> str:
    words = re.sub(r"[^\w.:£€$%-]+", " ", text.casefold()).split()
    return " ".join(word.strip(".:-") for word in words)


def _report(answer: Answer) -> EnsembleReport:
    report = answer.report()
    if report is None:
        raise ClientError(f"'{answer.model}' is no ensemble: its answers carry no votes.")
    return report


def _score(
    name: str,
    questions: Sequence[Question],
    found: Sequence[tuple[str, str, list[str], bool]],
    seconds: float | None,
) -> Score:
    right = value = wrongly = declined = answerable = 0
    for question, (text, answer_value, documents, blank) in zip(questions, found, strict=True):
        if not question.answers:
            declined += blank
            continue
        answerable += 1
        wrongly += blank
        document = (question.file or "").rsplit(".", 1)[0]
        fits = not question.file or document in documents
        right += says(text, question.answers) and fits and not blank
        value += says(answer_value, question.answers) and not blank
    return Score(
        name=name,
        right=right,
        value=value,
        answerable=answerable,
        declined_wrongly=wrongly,
        declined=declined,
        unanswerable=len(questions) - answerable,
        seconds=seconds,
    )
