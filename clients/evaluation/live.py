"""`jurat evaluate live`: what an ensemble is worth when it is asked, beside its members.

Every row of the table is a run of its own over the same questions (`jurat evaluate run`'s folder),
which differs from the ensemble in what its request says of it. What has been answered is not asked
again. Differences are paired: the same resamples of the questions for both runs.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.table import Table as Sheet

from clients.api import ClientError, add_gateway_options
from clients.documents import gateway_client
from clients.evaluation.bootstrap import Difference, Interval, difference, interval, resampled_means
from clients.evaluation.dataset import Table, read_table
from clients.evaluation.experiment import SUBMISSION, experiment_folder, read_records
from clients.evaluation.options import parser_of, print_json
from clients.evaluation.progress import progress
from clients.evaluation.runner import Job, read_questions, run
from clients.evaluation.scoring import ROUNDS, Columns, Grades, Rules, figures, grade
from clients.evaluation.settings import ExperimentSettings, Overrides
from clients.ingest import sync
from clients.private_gateway import reachable_gateway
from clients.show import console

__all__ = ["ABLATIONS", "Row", "compare", "main"]

ROOT = Path("artifacts/live")
RULES = Rules(metric="squad")
ENSEMBLE = "the ensemble"
COMPARED = ("f1_answerable", "balanced_accuracy")
SHOWN = (*COMPARED, "answered", "na_recall")

# Only what a member says counts: nothing declines for it, and nothing completes its value.
ALONE = Overrides(evidence_floor=-1.0, confidence_floor=0.0, whole_phrases=False)
# The ensemble without one of its ingredients, or with another in its place.
ABLATIONS: Mapping[str, Overrides] = {
    "no evidence floor": Overrides(evidence_floor=-1.0),
    "names not looked for": Overrides(missing_names=0.0),
    "kinds not looked for": Overrides(missing_kind=0.0),
    "not scored without passages": Overrides(contrast=False),
    "no confidence floor": Overrides(confidence_floor=0.0),
    "values as they were written": Overrides(whole_phrases=False),
    "whole passages shown": Overrides(excerpt_sentences=50, excerpt_margin=0.0),
    "no worked examples": Overrides(examples=False),
    "plain majority": Overrides(strategy="majority"),
    "weighed by likelihood": Overrides(strategy="confidence"),
    "a judge chooses": Overrides(strategy="judge"),
    "no early stop": Overrides(early_stop=False),
    "free text": Overrides(extractive=False),
    "free text, explanation first": Overrides(extractive=False, order="explanation_first"),
    "free text, by consensus": Overrides(extractive=False, strategy="consensus"),
}


class Row(Struct, frozen=True, kw_only=True):
    """One run: its figures, each with its interval, and the ensemble's less its own."""

    name: str
    kind: str  # ensemble, member, self-consistency or ablation
    figures: dict[str, float]
    intervals: dict[str, Interval]
    ahead: dict[str, Difference]  # of COMPARED, the ensemble's figure less this one's
    completion_tokens: int | None  # None: the endpoint tells none
    latency_ms: float  # at the median, with `concurrency` questions at once


class Run(Struct, frozen=True, kw_only=True):
    """A run that is whole: its grades, and its summary."""

    name: str
    kind: str
    grades: Grades
    summary: dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    options = _parser().parse_args(argv)
    questions = read_questions(options.questions)
    if Columns().answers not in questions.columns:
        raise ClientError(f"{options.questions}: there is no column '{Columns().answers}'.")
    with reachable_gateway(options.url) as url:
        if options.documents is not None:
            _ingest(options, url)
        runs = _ask_all(options, questions, url)
    rows = compare(runs, options.rounds, options.seed)
    found = {
        "ensemble": options.ensemble,
        "questions": len(questions),
        "unanswerable": round(float(runs[0].grades.parts[:, 2].sum())),
        "rows": rows,
        "machine": runs[0].summary["machine"],
    }
    if options.json:
        print_json(found)
    else:
        _show(options, questions, rows)
    return 0


def compare(runs: Sequence[Run], rounds: int = ROUNDS, seed: int = 0) -> list[Row]:
    """Rows in the order of the runs, the first of which is the ensemble's."""
    parts = np.stack([one.grades.parts for one in runs], axis=1)  # (questions, runs, parts)
    flat = parts.reshape(len(parts), -1)
    means = resampled_means(flat, rounds, seed).reshape(rounds, *parts.shape[1:])
    samples = figures(RULES, means)
    observed = figures(RULES, parts.mean(axis=0))

    def ahead(name: str, at: int) -> Difference:
        values: NDArray[np.float64] = samples[name]
        lead = float(observed[name][0] - observed[name][at])
        return difference(lead, values[:, 0] - values[:, at])

    return [
        Row(
            name=one.name,
            kind=one.kind,
            figures={name: float(values[at]) for name, values in observed.items()},
            intervals={name: interval(values[:, at]) for name, values in samples.items()},
            ahead={name: ahead(name, at) for name in COMPARED} if at else {},
            completion_tokens=one.summary["completion_tokens"],
            latency_ms=one.summary["latency_ms"]["p50"],
        )
        for at, one in enumerate(runs)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "live",
        "Ask an ensemble, each of its members, self-consistency of one member, and the ensemble "
        "without each of its ingredients; token F1 and balanced accuracy, with intervals.",
    )
    parser.add_argument("--ensemble", default="rag-ensemble", metavar="ID", help="%(default)s")
    parser.add_argument(
        "--questions",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV or JSON lines with id, question and answers (a list; empty: there is none)",
    )
    parser.add_argument("--store", metavar="NAME", help="asked about (default: the ensemble's own)")
    parser.add_argument(
        "--documents", type=Path, metavar="DIR", help="what --store is to hold; ingested first"
    )
    parser.add_argument(
        "--consistency", metavar="MEMBER", help="sampled as often as there are members; the first"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.7, metavar="T", help="of these samples (%(default)s)"
    )
    parser.add_argument(
        "--ablation",
        action="append",
        choices=(*ABLATIONS, "none"),
        metavar="ROW",
        help="a row of the ablation; may be repeated (default: all): "
        + ", ".join((*ABLATIONS, "none")),
    )
    parser.add_argument("--concurrency", type=int, default=3, metavar="N", help="%(default)s")
    parser.add_argument(
        "--allow-errors", action="store_true", help="count questions that failed as blank"
    )
    parser.add_argument("--fresh", action="store_true", help="throw away earlier answers")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the bootstrap (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT, metavar="DIR", help=f"default: {ROOT}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_gateway_options(parser)
    return parser


def _ingest(options: argparse.Namespace, url: str) -> None:
    if options.store is None:
        raise ClientError("--documents needs --store, the name of the store to put them into.")
    with gateway_client(url, options.api_key) as client:
        failed = sync(client, options.store, [options.documents])
    if failed:
        raise ClientError(f"--documents: {failed[0].path}: {failed[0].reason}")


def _ask_all(options: argparse.Namespace, questions: Table, url: str) -> list[Run]:
    """The ensemble's run, from which its members' names are known, then all others."""
    first = _ask(options, questions, url, ENSEMBLE, "ensemble", Overrides())
    folder = _folder(options, ENSEMBLE)
    reports = [one.ensemble for one in read_records(folder) if one.ensemble is not None]
    members: list[str] = []
    for report in reports:
        members = members or [str(vote["model"]) for vote in report["votes"]]
    if not members:
        raise ClientError(f"'{options.ensemble}' asked none of its members; is it an ensemble?")
    again = options.consistency or members[0]
    if again not in members:
        raise ClientError(f"--consistency: no '{again}' among {', '.join(members)}.")
    replace = msgspec.structs.replace
    others = [(f"member {one}", "member", replace(ALONE, members=[one])) for one in members]
    same = replace(ALONE, members=[again] * len(members), strategy="majority", early_stop=False)
    others.append((f"self-consistency of {again}", "self-consistency", same))
    others.append(("one member, all else", "ablation", Overrides(members=[members[0]])))
    own = reports[0]["strategy"]
    others += [
        (name, "ablation", ABLATIONS[name])
        for name in options.ablation or ABLATIONS
        if name in ABLATIONS and ABLATIONS[name].strategy != own
    ]
    return [first, *(_ask(options, questions, url, *other) for other in others)]


def _ask(
    options: argparse.Namespace,
    questions: Table,
    url: str,
    name: str,
    kind: str,
    changed: Overrides,
) -> Run:
    if options.store is not None:
        changed = msgspec.structs.replace(changed, vector_store_ids=[options.store])
    folder = _folder(options, name)
    sampled = {"temperature": options.temperature} if kind == "self-consistency" else {}
    job = Job(
        name=name,
        settings=ExperimentSettings(
            model=options.ensemble,
            concurrency=options.concurrency,
            ensemble=changed,
            request=sampled,
        ),
        questions=questions,
        folder=folder,
        url=url,
        api_key=options.api_key,
    )
    with progress(name, len(questions)) as advance:
        summary = run(job, advance, fresh=options.fresh, allow_errors=options.allow_errors)
    if summary["errors"] and not options.allow_errors:
        why = next(one.error for one in read_records(folder) if one.error is not None)
        raise ClientError(f"{name}: {summary['errors']} questions failed, the first: {why}")
    columns = RULES.columns
    table = read_table(folder / SUBMISSION, [columns.id, columns.value], ())
    return Run(name=name, kind=kind, grades=grade(questions, table, RULES), summary=summary)


def _folder(options: argparse.Namespace, name: str) -> Path:
    return experiment_folder(
        name.replace(" ", "-"), options.output / options.ensemble / options.questions.stem
    )


def _show(options: argparse.Namespace, questions: Table, rows: Sequence[Row]) -> None:
    heads = [name.replace("_", " ") for name in SHOWN]
    title = f"{options.ensemble}: {len(questions)} questions of {options.questions.name}"
    sheet = Sheet("", *heads, "tokens", "ms", title=title)
    leads = Sheet("", *heads[: len(COMPARED)], title="How far the ensemble is ahead")
    for row in rows:
        cells = [f"{row.figures[name]:.3f}" for name in SHOWN]
        for at, name in enumerate(COMPARED):
            sure = row.intervals[name]
            cells[at] += f" ({sure.low:.2f} to {sure.high:.2f})"
        tokens = "" if row.completion_tokens is None else str(row.completion_tokens)
        sheet.add_row(row.name, *cells, tokens, f"{row.latency_ms:.0f}")
        if row.ahead:
            leads.add_row(row.name, *(_lead(row.ahead[name]) for name in COMPARED))
    out = console()
    out.print(sheet)
    out.print(leads)


def _lead(found: Difference) -> str:
    return f"{found.mean:+.3f} ({found.low:+.2f} to {found.high:+.2f}), {found.verdict}"
