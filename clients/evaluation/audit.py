"""`jurat evaluate audit`: what is odd about runs, before anybody believes their scores."""

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import Struct
from rich.table import Table as Sheet

from clients.evaluation import wattbot
from clients.evaluation.collection import Collection, Graded, add_runs, collect, graded
from clients.evaluation.dataset import Table, read_table
from clients.evaluation.experiment import SUMMARY, Outcome, read_records
from clients.evaluation.options import parser_of, print_json, warn
from clients.evaluation.scoring import figures
from clients.show import console

__all__ = ["Finding", "audit", "main"]

MAX_ERROR_RATE = 0.02
OUTLIER = 10.0  # times the median
SCORE_TOLERANCE = 1e-6
SHOWN = 5
TEXTS = ("question", "answer", "explanation")


class Finding(Struct, frozen=True, kw_only=True):
    """One kind of oddity in a run: how often, where first, and in words."""

    run: str
    kind: str
    count: int
    ids: list[str]
    message: str


def main(argv: Sequence[str]) -> int:
    """Run the subcommand: status 1 on findings with --strict. Raises ClientError."""
    parser = parser_of("audit", "Say what is odd about runs.")
    add_runs(parser)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="documents as ID.txt")
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="CSV with the documents' ids")
    parser.add_argument("--strict", action="store_true", help="status 1 if there are findings")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    collection = collect(options)
    warn(collection.truth)
    documents = _documents(options.corpus, options.metadata)
    found = list(audit(collection, documents))
    if options.json:
        runs = [experiment.name for experiment in collection.experiments]
        print_json({"runs": runs, "findings": found})
    else:
        show(found, len(collection.experiments))
    return 1 if options.strict and found else 0


def audit(collection: Collection, documents: frozenset[str] | None = None) -> Iterator[Finding]:
    """All findings. `documents`: the ids that exist; None: references are not looked up."""
    prints: dict[str, str] = {}
    broken: dict[str, str] = {}
    for one in graded(collection, TEXTS, broken):
        name = one.experiment.name
        yield from _texts(one, collection.truth, documents)
        if (same := prints.setdefault(_fingerprint(one), name)) != name:
            yield _finding(name, "duplicate run", [], f"its answers are all those of {same}")
        if one.experiment.folder is not None:
            yield from _records(name, read_records(one.experiment.folder, Outcome))
            yield from _score(one)
    for name, why in broken.items():
        yield _finding(name, "cannot be scored", [], why)


def show(found: Sequence[Finding], runs: int) -> None:
    """The findings as a table."""
    out = console()
    if not found:
        out.print(f"{runs} runs, no findings.")
        return
    sheet = Sheet("run", "finding", "count", "what", "questions")
    for one in found:
        more = ", …" if one.count > SHOWN else ""
        sheet.add_row(one.run, one.kind, str(one.count), one.message, ", ".join(one.ids) + more)
    out.print(sheet)
    out.print(f"{runs} runs, {len(found)} findings.")


def _texts(one: Graded, truth: Table, documents: frozenset[str] | None) -> Iterator[Finding]:
    """What the answers themselves show."""
    name, table, columns = one.experiment.name, one.submission, one.grades.rules.columns
    ids = [id_.strip() for id_ in table.column(columns.id)]
    values = table.column(columns.value)
    if "explanation" in table.columns:
        empty = map(wattbot.is_blank, table.columns["explanation"])
        blank = map(wattbot.is_blank, values)
        rows = [id_ for id_, e, none in zip(ids, empty, blank, strict=True) if e and not none]
        yield from _some(name, "empty explanation", rows, "answers without a reason")
    echoes = _echoes(one, truth, ids)
    yield from _some(name, "answer is the prompt", echoes, "the question is repeated")
    if documents is not None and columns.reference in table.columns:
        unknown: list[str] = []
        missing: set[str] = set()
        for id_, text in zip(ids, table.columns[columns.reference], strict=True):
            strange = wattbot.references(text) - documents - {"is_blank"}
            if strange:
                unknown.append(id_)
                missing |= strange
        shown = ", ".join(sorted(missing)[:SHOWN])
        yield from _some(name, "unknown reference", unknown, f"no such documents: {shown}")
    if one.grades.warnings:
        yield _finding(name, "unparsable value", [], one.grades.warnings[0])
    pairing = one.grades.pairing
    rows = pairing.missing + pairing.extra
    yield from _some(name, "partial run", rows, "questions that only one file has")


def _echoes(one: Graded, truth: Table, ids: Sequence[str]) -> list[str]:
    """Ids of answers that are their questions, whatever the case and the spaces."""
    columns, pairs = one.submission.columns, one.grades.pairing.rows
    said = [columns[name] for name in (one.grades.rules.columns.value, "answer") if name in columns]
    if "question" in truth.columns:
        questions = [truth.columns["question"][row] for row, _ in pairs]
    elif "question" in columns:
        questions = [columns["question"][row] for _, row in pairs]
    else:
        return []
    asked = [*map(_plain, questions)]
    found: set[int] = set()
    for texts in said:
        for question, (_, row) in zip(asked, pairs, strict=True):
            if question and _plain(texts[row]) == question:
                found.add(row)
    return [ids[row] for row in sorted(found)]


@functools.lru_cache(maxsize=65536)
def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _records(name: str, records: Sequence[Outcome]) -> Iterator[Finding]:
    """What the run's records show: errors, counts and times."""
    if not records:
        return
    failed = [record for record in records if record.error is not None]
    if len(failed) > MAX_ERROR_RATE * len(records):
        rate = f"{len(failed) / len(records):.0%} failed, first: {failed[0].error}"
        yield _finding(name, "error rate", [record.id for record in failed], rate)
    asked = [r for r in records if r.error is None and not r.model.startswith("ensemble:")]
    uncounted = [r.id for r in asked if r.prompt_tokens is None or r.completion_tokens is None]
    yield from _some(name, "missing token counts", uncounted, "no usage was reported")
    timed = [record for record in asked if record.latency_ms is not None]
    if timed:
        times = np.array([record.latency_ms for record in timed])
        middle = float(np.median(times))
        slow = [timed[at].id for at in np.flatnonzero(times > OUTLIER * middle)]
        what = f"more than {OUTLIER:g} times the median of {middle:.0f} ms"
        yield from _some(name, "latency outlier", slow, what)


def _score(one: Graded) -> Iterator[Finding]:
    """Whether the score that the run wrote down is the one it has."""
    assert one.experiment.folder is not None
    path = one.experiment.folder / SUMMARY
    try:
        summary: object = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        yield _finding(one.experiment.name, "no summary", [], f"{path} is not there")
        return
    except (OSError, msgspec.DecodeError) as error:
        yield _finding(one.experiment.name, "no summary", [], f"{path}: {error}")
        return
    fields = cast("dict[str, Any]", summary) if isinstance(summary, dict) else {}
    score = fields.get("score") if isinstance(fields.get("score"), dict) else fields
    written: object = cast("dict[str, object]", score).get("overall")
    if cast("dict[str, object]", score).get("metric", "wattbot") != one.grades.rules.metric:
        return  # another measure of the same run
    real = float(figures(one.grades.rules, one.grades.parts.mean(axis=0))["overall"])
    if isinstance(written, float) and not math.isclose(written, real, abs_tol=SCORE_TOLERANCE):
        what = f"the summary says {written:.4f}, the answers score {real:.4f}"
        yield _finding(one.experiment.name, "score inconsistency", [], what)


def _documents(corpus: Path | None, metadata: Path | None) -> frozenset[str] | None:
    if corpus is None and metadata is None:
        return None
    known: set[str] = set()
    if corpus is not None:
        known |= {path.stem.lower() for path in corpus.glob("*.*")}
    if metadata is not None:
        table: Table = read_table(metadata, ["id"], ())
        known |= {id_.strip().lower() for id_ in table.column("id")}
    return frozenset(known)


def _fingerprint(one: Graded) -> str:
    columns = one.grades.rules.columns
    names = [columns.value, columns.reference, *TEXTS[1:]]
    rows = [row for _, row in one.grades.pairing.rows]
    known = [one.submission.columns[name] for name in names if name in one.submission.columns]
    texts = ["\0".join([column[row] for row in rows]) for column in known]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _some(run: str, kind: str, ids: Sequence[str], message: str) -> Iterable[Finding]:
    return [_finding(run, kind, ids, message)] if ids else []


def _finding(run: str, kind: str, ids: Sequence[str], message: str) -> Finding:
    return Finding(
        run=run, kind=kind, count=max(1, len(ids)), ids=list(ids[:SHOWN]), message=message
    )
