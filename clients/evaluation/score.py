"""`jurat evaluate score TRUTH SUBMISSION…`: what runs score, how sure that is, and by evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from clients.evaluation.bootstrap import Interval
from clients.evaluation.experiment import SUBMISSION
from clients.evaluation.options import (
    add_rules,
    parser_of,
    print_json,
    read_submission,
    read_truth,
    rules_of,
    warn,
)
from clients.evaluation.scoring import grade, report

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    parser = parser_of("score", "Score runs' answers against the truth.")
    parser.add_argument("truth", type=Path, help="CSV or JSON lines with the right answers")
    parser.add_argument(
        "submissions",
        type=Path,
        nargs="+",
        metavar="submission",
        help="CSV or JSON lines with a run's answers; of several, a table with one row each",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_rules(parser)
    options = parser.parse_args(argv)
    rules = rules_of(options, options.truth)
    truth = read_truth(options.truth, rules)
    found: list[dict[str, Any]] = []
    for path in options.submissions:
        submission = read_submission(path, rules, rules.evidence)
        grades = grade(truth, submission, rules, partial=options.partial)
        one = report(grades, options.rounds, options.seed)
        one["warnings"] = warn(truth, submission, notes=grades.warnings)
        found.append(one)
    several = [
        {"submission": str(path), **one}
        for path, one in zip(options.submissions, found, strict=True)
    ]
    if options.json:
        print_json(found[0] if len(found) == 1 else {"submissions": several})
    elif len(found) == 1:
        show(found[0])
    else:
        show_several(several)
    return 0


def show(found: dict[str, Any]) -> None:
    """The report as tables."""
    # Only here: of a command that reads one small file it would be half of the time.
    from rich.table import Table as Sheet

    from clients.show import console

    out = console()
    if found["partial"]:
        out.print(
            f"Partial: {found['questions']} questions are in both files; "
            f"{len(found['missing'])} are only in the truth, {len(found['extra'])} only in the run."
        )
    intervals = cast("dict[str, Interval]", found["intervals"])
    sheet = Sheet("", "score", "95 % interval", title=f"{found['questions']} questions")
    names = _figures(found)
    for name in names:
        sure = intervals.get(name)
        span = f"{sure.low:.3f} to {sure.high:.3f}" if sure else ""
        sheet.add_row(name.replace("_", " "), f"{found[name]:.3f}", span)
    out.print(sheet)
    if found["by_evidence"]:
        kinds = Sheet("evidence", "questions", *(name.replace("_", " ") for name in names[1:]))
        for kind, figures in found["by_evidence"].items():
            shown = [f"{figures[name]:.3f}" for name in names[1:]]
            kinds.add_row(kind, str(int(figures["questions"])), *shown)
        out.print(kinds)


def show_several(found: Sequence[dict[str, Any]]) -> None:
    """A row for each run, in the order in which they were named."""
    from rich.table import Table as Sheet

    from clients.show import console

    names = _figures(found[0])
    heads = [name.replace("_", " ") for name in names]
    sheet = Sheet("", "questions", heads[0], "95 % interval", *heads[1:])
    sheet.columns[0].overflow = "fold"
    runs = _names([Path(one["submission"]) for one in found])
    for run, one in zip(runs, found, strict=True):
        sure = cast("dict[str, Interval]", one["intervals"]).get(names[0])
        span = f"{sure.low:.3f} to {sure.high:.3f}" if sure else ""
        count = f"{one['questions']}{' (partial)' if one['partial'] else ''}"
        first, *others = (f"{one[name]:.3f}" for name in names)
        sheet.add_row(run, count, first, span, *others)
    console().print(sheet)


def _names(paths: Sequence[Path]) -> list[str]:
    """What the runs are called in a table: an experiment by its folder; whole paths if need be."""
    short = [path.parent.name if path.name == SUBMISSION else path.stem for path in paths]
    return short if len(set(short)) == len(short) else list(map(str, paths))


def _figures(found: dict[str, Any]) -> list[str]:
    return [name for name, value in found.items() if isinstance(value, float)]
