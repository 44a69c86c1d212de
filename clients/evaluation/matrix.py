"""`jurat evaluate matrix`: one row a question, what each run said, if it was right."""

import csv
import functools
import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.collection import Collection, add_runs, collect, graded
from clients.evaluation.dataset import Table
from clients.evaluation.options import parser_of, print_json, warn

__all__ = ["Matrix", "build", "main"]

MAX_CELL_CHARS = 120
KINDS = {True: "right", False: "wrong", None: "none"}


class Matrix(Struct, frozen=True, kw_only=True):
    """`said` and `right` by run, in the truth's order; None where a run lacks the question."""

    ids: list[str]
    questions: list[str]
    truth: list[str]
    evidence: list[str]
    said: dict[str, list[str | None]]
    right: dict[str, list[bool | None]]


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    parser = parser_of("matrix", "Compare runs question by question.")
    add_runs(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("artifacts/matrix"),
        metavar="PATH",
        help="of the .csv and .html files (default: artifacts/matrix)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    collection = collect(options)
    warn(collection.truth)
    matrix = build(collection)
    written = write(matrix, options.output)
    accuracy = {name: _share(right) for name, right in matrix.right.items()}
    if options.json:
        print_json({"questions": len(matrix.ids), "runs": accuracy, "files": written})
    else:
        print(f"{len(matrix.ids)} questions, {len(accuracy)} runs: {', '.join(written)}")
    return 0


def build(collection: Collection) -> Matrix:
    """The matrix of all runs. Raises DatasetError."""
    truth, columns = collection.truth, collection.rules.columns
    said: dict[str, list[str | None]] = {}
    right: dict[str, list[bool | None]] = {}
    for one in graded(collection):
        values = one.submission.column(columns.value)
        mine: list[str | None] = [None] * len(truth)
        fits: list[bool | None] = [None] * len(truth)
        for (row, other), good in zip(
            one.grades.pairing.rows, one.grades.right.tolist(), strict=True
        ):
            mine[row], fits[row] = values[other], good
        said[one.experiment.name], right[one.experiment.name] = mine, fits
    answers = truth.columns.get(columns.answers) or truth.columns.get(columns.value) or []
    return Matrix(
        ids=[value.strip() for value in truth.column(columns.id)],
        questions=truth.columns.get("question") or [""] * len(truth),
        truth=answers,
        evidence=_evidence(truth, collection.rules.evidence),
        said=said,
        right=right,
    )


def write(matrix: Matrix, path: Path) -> list[str]:
    """Write PATH.csv and PATH.html; returns their names. Raises ClientError."""
    path = path.with_suffix("") if path.suffix in (".csv", ".html") else path
    table, page = Path(f"{path}.csv"), Path(f"{path}.html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as file:
            _write_csv(matrix, csv.writer(file))
        page.write_text(as_html(matrix), encoding="utf-8")
    except OSError as error:
        raise ClientError(f"Cannot write {path}: {error.strerror}.") from error
    return [str(table), str(page)]


def as_html(matrix: Matrix) -> str:
    """A page that stands alone: sorted by a click on a head, filtered by words and by verdict."""
    runs = list(matrix.said)
    heads = ["id", "question", "evidence", "truth", "right"]
    cells = [f"<th>{html.escape(head)}</th>" for head in [*heads, *runs]]
    rows: list[str] = []
    for at, id_ in enumerate(matrix.ids):
        verdicts = [right[at] for right in matrix.right.values()]
        good = verdicts.count(True)
        texts = [id_, matrix.questions[at], matrix.evidence[at], matrix.truth[at]]
        row = [f"<td>{_cell(text)}</td>" for text in texts]
        row.append(f'<td data-n="{good}">{good}/{len(runs)}</td>')
        for said, verdict in zip(matrix.said.values(), verdicts, strict=True):
            row.append(f'<td class="{KINDS[verdict]}">{_cell(said[at] or "")}</td>')
        rows.append(f"<tr>{''.join(row)}</tr>")
    template = files("clients.evaluation").joinpath("matrix.html").read_text(encoding="utf-8")
    shares = "".join(f"<td>{_share(matrix.right[run]):.3f}</td>" for run in runs)
    page = template.replace("@HEADS@", "".join(cells)).replace("@SHARES@", shares)
    return page.replace("@ROWS@", "\n".join(rows))


def _write_csv(matrix: Matrix, writer: Any) -> None:
    runs = list(matrix.said)
    pairs = [name for run in runs for name in (run, f"{run} right")]
    writer.writerow(["id", "question", "evidence", "truth", *pairs, "right"])
    for at, id_ in enumerate(matrix.ids):
        row: list[object] = [
            id_, matrix.questions[at], matrix.evidence[at], matrix.truth[at]
        ]  # fmt: skip
        verdicts = [right[at] for right in matrix.right.values()]
        for said, verdict in zip(matrix.said.values(), verdicts, strict=True):
            row += [said[at] or "", "" if verdict is None else int(verdict)]
        writer.writerow([*row, verdicts.count(True)])


def _evidence(truth: Table, names: Sequence[str]) -> list[str]:
    known = [name for name in names if name in truth.columns]
    yes = ("1", "1.0", "true", "yes")
    return [
        " ".join(name for name in known if truth.columns[name][row].strip().lower() in yes)
        for row in range(len(truth))
    ]


def _share(right: Sequence[bool | None]) -> float:
    known = [one for one in right if one is not None]
    return sum(known) / len(known) if known else 0.0


@functools.lru_cache(maxsize=65536)
def _cell(text: str) -> str:
    flat = " ".join(text.split())
    if len(flat) <= MAX_CELL_CHARS:
        return html.escape(flat)
    return f'<span title="{html.escape(flat)}">{html.escape(flat[:MAX_CELL_CHARS])}…</span>'
