"""`jurat evaluate score TRUTH SUBMISSION`: one run's score, how sure it is, and by evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rich.table import Table as Sheet

from clients.evaluation.bootstrap import Interval
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
from clients.show import console

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    parser = parser_of("score", "Score a run's answers against the truth.")
    parser.add_argument("truth", type=Path, help="CSV or JSON lines with the right answers")
    parser.add_argument("submission", type=Path, help="CSV or JSON lines with a run's answers")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_rules(parser)
    options = parser.parse_args(argv)
    rules = rules_of(options)
    truth, submission = read_truth(options.truth, rules), read_submission(options.submission, rules)
    grades = grade(truth, submission, rules, partial=options.partial)
    found = report(grades, options.rounds, options.seed)
    found["warnings"] = warn(truth, submission, notes=grades.warnings)
    if options.json:
        print_json(found)
    else:
        show(found)
    return 0


def show(found: dict[str, Any]) -> None:
    """The report as tables."""
    out = console()
    if found["partial"]:
        out.print(
            f"Partial: {found['questions']} questions are in both files; "
            f"{len(found['missing'])} are only in the truth, {len(found['extra'])} only in the run."
        )
    intervals = cast("dict[str, Interval]", found["intervals"])
    sheet = Sheet("", "score", "95 % interval", title=f"{found['questions']} questions")
    names = [name for name, value in found.items() if isinstance(value, float)]
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
