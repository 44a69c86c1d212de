"""Asking all questions of an experiment at once, a few at a time, so that nothing is lost."""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import openai
import uvloop
from msgspec import Struct

from clients.api import NO_KEY, ClientError, default_key
from clients.evaluation.asking import Unreachable, ask
from clients.evaluation.calls import CALLS, Call, read_calls, watched
from clients.evaluation.dataset import DatasetError, Table, index_of, read_table
from clients.evaluation.endpoint import Description, described, until_ready
from clients.evaluation.experiment import (
    RESULTS,
    SUBMISSION,
    SUMMARY,
    Record,
    read_records,
    write_json,
    write_submission,
)
from clients.evaluation.scoring import Columns, Rules, grade, report
from clients.evaluation.settings import ExperimentSettings
from clients.evaluation.summary import summary_of

__all__ = ["Job", "client_of", "read_questions", "rules_for", "run"]

PLAN = "experiment.json"  # what is being run; a run of something else must not resume it
FREE = ("questions", "concurrency", "retries", "timeout_s")  # settings it may resume without
CONNECT_S = 10.0


class Job(Struct, frozen=True, kw_only=True):
    """A run: its settings, its questions and its folder."""

    name: str
    settings: ExperimentSettings
    questions: Table
    folder: Path
    url: str
    api_key: str | None = None


def read_questions(path: Path) -> Table:
    """Questions with their ids, and the answers where the file has them. Raises DatasetError."""
    columns = Columns()
    answers = (columns.value, columns.reference, columns.answers)
    table = read_table(path, [columns.id, "question"], answers)
    index_of(table)
    for row, question in enumerate(table.column("question")):
        if not question.strip():
            raise DatasetError(f"{table.at(row, 'question')}: the question is empty.")
    return table


def rules_for(questions: Table) -> Rules | None:
    """How the questions can be scored: SQuAD's way with a list of answers; None: not at all."""
    columns = Columns()
    if columns.answers in questions.columns:
        return Rules(metric="squad")
    known = {columns.value, columns.reference} <= set(questions.columns)
    return Rules() if known else None


def client_of(job: Job) -> openai.AsyncOpenAI:
    """A client that waits and tries again as the SDK does: 408, 409, 429 and 5xx, lost lines."""
    return openai.AsyncOpenAI(
        base_url=f"{job.url}/v1",
        api_key=job.api_key or default_key() or NO_KEY,
        max_retries=job.settings.retries,
        timeout=openai.Timeout(job.settings.timeout_s, connect=CONNECT_S),
    )


def run(
    job: Job,
    advance: Callable[[int], None],
    *,
    fresh: bool = False,
    allow_errors: bool = False,
) -> dict[str, Any]:
    """Ask what has not been answered yet, and write the folder. Raises ClientError.

    Questions that failed are asked again; while there are some, the run is not whole: it has no
    submission and no score, unless `allow_errors` counts them as blank. `advance` is told how many
    more are done.
    """
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with _alone(job.folder):
            _same_plan(job, fresh=fresh)
            asked = _asked(job)
            advance(len(job.questions) - len(asked))
            stopped, call, said = uvloop.run(_ask_all(job, asked, advance))
            if stopped is not None:
                raise ClientError(
                    f"{stopped} What was answered is kept in {job.folder}; "
                    "the same command goes on from there."
                )
            return _finish(job, call, said, allow_errors=allow_errors)
    except OSError as error:
        raise ClientError(f"Cannot write {job.folder}: {error.strerror}.") from error


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """While inside nobody else runs it, who would ask the same questions. Raises ClientError."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClientError(f"{folder} is being run by another process.") from error
        yield
    finally:
        os.close(held)


def _same_plan(job: Job, *, fresh: bool) -> None:
    path = job.folder / PLAN
    questions = "\n".join(job.questions.column("id") + job.questions.column("question"))
    settings: dict[str, Any] = msgspec.to_builtins(job.settings)
    plan = {
        "settings": {name: settings[name] for name in settings if name not in FREE},
        "questions": hashlib.sha256(questions.encode()).hexdigest(),
    }
    if path.is_file() and not fresh and not _says(path, plan):
        raise ClientError(
            f"{job.folder} is a run with other settings or questions. "
            "Give this one another --name, or --fresh to throw that one away."
        )
    for name in (SUMMARY, SUBMISSION, *([RESULTS, PLAN, CALLS] if fresh else [])):
        (job.folder / name).unlink(missing_ok=True)  # until the run is whole again
    write_json(path, plan)


def _says(path: Path, plan: dict[str, Any]) -> bool:
    try:
        return msgspec.json.decode(path.read_bytes()) == plan
    except msgspec.DecodeError:
        return False


def _asked(job: Job) -> list[tuple[str, str]]:
    """Ids and questions that have no answer yet."""
    _mend(job.folder / RESULTS)
    done = {record.id for record in read_records(job.folder) if record.error is None}
    ids = [one.strip() for one in job.questions.column("id")]
    pairs = zip(ids, job.questions.column("question"), strict=True)
    return [(id_, question) for id_, question in pairs if id_ not in done]


async def _ask_all(
    job: Job, asked: Sequence[tuple[str, str]], advance: Callable[[int], None]
) -> tuple[str | None, Call, Description]:
    """Ask with as many at once as the settings say.

    Returns why it stopped early, if it did, what the call took, and what the endpoint says.
    """
    async with client_of(job) as client:
        if not asked:
            return None, Call(), await described(client, job.settings.model)
        await asyncio.to_thread(until_ready, job.url, job.settings.timeout_s)
        said = await described(client, job.settings.model)
        async with watched(job.folder, job.url, job.api_key) as call:
            stopped = await _work(client, job, asked, advance, call)
        return stopped, call, said


async def _work(
    client: openai.AsyncOpenAI,
    job: Job,
    asked: Sequence[tuple[str, str]],
    advance: Callable[[int], None],
    call: Call,
) -> str | None:
    """Why it stopped early, or None."""
    waiting = iter(asked)
    stopped: list[str] = []
    with (job.folder / RESULTS).open("ab") as file:

        async def work() -> None:
            for id_, question in waiting:
                try:
                    record = await ask(client, job.settings, job.url, id_, question)
                except Unreachable as error:
                    stopped.append(str(error))
                    return
                file.write(msgspec.json.encode(record) + b"\n")
                file.flush()
                call.asked += 1
                advance(1)
                if stopped:
                    return

        await asyncio.gather(*(work() for _ in range(job.settings.concurrency)))
    return stopped[0] if stopped else None


def _mend(path: Path) -> None:
    """Cut off a last line that an interruption left half written; a whole one lacks its end."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        last = file.read().rpartition(b"\n")[2]
        if not last:
            return
        try:
            msgspec.json.decode(last, type=Record)
            file.write(b"\n")
        except msgspec.DecodeError:
            file.truncate(file.tell() - len(last))


def _finish(job: Job, call: Call, said: Description, *, allow_errors: bool) -> dict[str, Any]:
    known = {record.id: record for record in read_records(job.folder)}
    records = [known[id_.strip()] for id_ in job.questions.column("id")]
    score = None
    if allow_errors or all(record.error is None for record in records):
        write_submission(job.folder / SUBMISSION, records)
        score = _score(job)
    found = summary_of(job.name, job.settings, said, records, call, read_calls(job.folder))
    summary = found | {"score": score}
    write_json(job.folder / SUMMARY, summary)
    return summary


def _score(job: Job) -> dict[str, object] | None:
    rules = rules_for(job.questions)
    if rules is None:
        return None
    needed = [rules.columns.id, rules.columns.value, rules.columns.reference]
    return report(grade(job.questions, read_table(job.folder / SUBMISSION, needed, ()), rules))
