"""An experiment's folder: what was asked and answered, as every subcommand reads and writes it.

`artifacts/experiments/NAME` has `results.jsonl` (one record a question, appended as they come),
`summary.json` (written last: where it is, the run is whole) and `submission.csv`.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.dataset import DatasetError

__all__ = [
    "RESULTS",
    "ROOT",
    "SUBMISSION",
    "SUBMISSION_COLUMNS",
    "SUMMARY",
    "Experiment",
    "Outcome",
    "Record",
    "experiment_folder",
    "find_experiments",
    "interrupted",
    "read_records",
    "submission_of",
    "write_json",
    "write_run",
    "write_submission",
]

ROOT = Path("artifacts/experiments")
RESULTS, SUMMARY, SUBMISSION = "results.jsonl", "summary.json", "submission.csv"
BLANK = "is_blank"
SUBMISSION_COLUMNS = (
    "id", "question", "answer", "answer_value", "answer_unit", "ref_id", "ref_url",
    "supporting_materials", "explanation",
)  # fmt: skip


class Outcome(Struct, kw_only=True, omit_defaults=True):
    """What asking one question came to. Times are in milliseconds."""

    id: str
    model: str = ""
    error: str | None = None
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Record(Outcome, kw_only=True, omit_defaults=True):
    """What became of one question; `cost` is in US dollars."""

    question: str = ""
    answer: str = ""
    answer_value: str = ""
    answer_unit: str = ""
    is_blank: bool = False
    ref_id: list[str] = []
    ref_url: list[str] = []
    supporting_materials: str = ""
    explanation: str = ""
    attempts: int = 1
    timings: dict[str, float] = {}
    cost: float | None = None
    raw: str = ""
    ensemble: dict[str, Any] | None = None


AnyRecord = TypeVar("AnyRecord", bound=Outcome)


class Experiment(Struct, frozen=True, kw_only=True):
    """A run that can be scored: its name, and the file with its answers."""

    name: str
    submission: Path
    folder: Path | None = None  # None: a bare file


def experiment_folder(name: str, root: Path = ROOT) -> Path:
    """The folder of an experiment of that name. Raises ClientError: a name is no path."""
    if not name or name.startswith(".") or Path(name).name != name:
        raise ClientError(f"--name: '{name}' cannot be a folder's name.")
    return root / name


def find_experiments(names: Sequence[str], root: Path = ROOT) -> list[Experiment]:
    """Experiments by name, folder or file; without names, all in `root`. Raises ClientError.

    A folder without a submission is an interrupted run: named ones are refused, others left out
    (`interrupted` names them).
    """
    found: list[Experiment] = []
    if not names:
        folders = sorted(root.iterdir()) if root.is_dir() else []
        whole = [folder for folder in folders if (folder / SUBMISSION).is_file()]
        found = [Experiment(name=f.name, submission=f / SUBMISSION, folder=f) for f in whole]
        if not found:
            raise ClientError(f"There are no experiments in {root}; name some, or --submissions.")
        return found
    for name in names:
        path = Path(name) if Path(name).exists() else root / name
        if path.is_file():
            found.append(Experiment(name=path.stem, submission=path))
        elif (path / SUBMISSION).is_file():
            found.append(Experiment(name=path.name, submission=path / SUBMISSION, folder=path))
        elif path.is_dir():
            raise ClientError(f"{path} has no {SUBMISSION}: the run was interrupted. Run it again.")
        else:
            raise ClientError(f"There is no experiment '{name}' (looked for {path}).")
    return _distinct(found)


def interrupted(root: Path = ROOT) -> list[str]:
    """Names of the runs in `root` that are not whole."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [
        one.name
        for one in folders
        if (one / RESULTS).is_file() and not (one / SUBMISSION).is_file()
    ]


def read_records(folder: Path, kind: type[AnyRecord] = Record) -> list[AnyRecord]:
    """The records of `results.jsonl`, the last of each question. Raises DatasetError.

    `kind` has those of their fields that are wanted: of many records, few are read faster.

    A last line that was cut off by an interruption is left out.
    """
    path = folder / RESULTS
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error.strerror}.") from error
    decoder = msgspec.json.Decoder(kind)
    try:
        records = decoder.decode_lines(text)
    except msgspec.DecodeError:
        records = _line_by_line(path, text.split(b"\n"), decoder)
    return list({record.id: record for record in records}.values())


def _line_by_line(
    path: Path, lines: Sequence[bytes], decoder: "msgspec.json.Decoder[AnyRecord]"
) -> Iterator[AnyRecord]:
    """Says which line is broken. Raises DatasetError."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            if number == len(lines):
                return
            raise DatasetError(f"{path}, line {number}: {error}.") from error


def submission_of(record: Record) -> dict[str, str]:
    """A record as a row of a submission, in its columns' order. What failed is blank."""
    blank = record.is_blank or record.error is not None or not record.answer_value.strip()
    return {
        "id": record.id,
        "question": record.question,
        "answer": record.answer or BLANK,
        "answer_value": BLANK if blank else record.answer_value,
        "answer_unit": record.answer_unit or BLANK,
        "ref_id": _list(() if blank else record.ref_id),
        "ref_url": _list(() if blank else record.ref_url),
        "supporting_materials": record.supporting_materials or BLANK,
        "explanation": record.explanation or (f"error: {record.error}" if record.error else BLANK),
    }


def write_submission(path: Path, records: Iterable[Record]) -> None:
    """Write a whole submission at once: half of one must not pass for one."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(SUBMISSION_COLUMNS)
        writer.writerows(submission_of(record).values() for record in records)
    temporary.replace(path)


def write_json(path: Path, found: object) -> None:
    """Write a JSON file at once."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    temporary.replace(path)


def write_run(folder: Path, records: Sequence[Record], summary: object) -> None:
    """Write a whole experiment; the summary last. Raises ClientError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        (folder / RESULTS).write_bytes(lines)
        write_submission(folder / SUBMISSION, records)
        write_json(folder / SUMMARY, summary)
    except OSError as error:
        raise ClientError(f"Cannot write {folder}: {error.strerror}.") from error


def _list(ids: Sequence[str]) -> str:
    return msgspec.json.encode(list(ids)).decode() if ids else BLANK


def _distinct(found: Sequence[Experiment]) -> list[Experiment]:
    names: set[str] = set()
    for one in found:
        if one.name in names:
            raise ClientError(f"Two runs are called '{one.name}'; rename one of {one.submission}.")
        names.add(one.name)
    return list(found)
