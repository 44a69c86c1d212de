"""`jurat evaluate plot`: every figure as PNG and SVG, and one page with all of them."""

import base64
import html
import io
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.calibration import Reliability, reliability
from clients.evaluation.collection import Collection, Graded, add_runs, collect, graded
from clients.evaluation.experiment import SUMMARY, Outcome, read_records
from clients.evaluation.marks import Run
from clients.evaluation.options import parser_of, print_json, warn
from clients.evaluation.plots import FIGURES, draw
from clients.evaluation.scoring import nearly_right, report

__all__ = ["main"]

DPI = 160
SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])", re.IGNORECASE)
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Evaluation</title>
<meta name="viewport" content="width=device-width">
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }}
 body {{ max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
 img {{ max-width: 100%; }} figure {{ margin: 2.5rem 0; }} figcaption {{ color: #444; }}
 table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #ccc; padding: .25rem .6rem; }}
 td {{ text-align: right; white-space: nowrap; }}
 td:first-child, td:last-child {{ text-align: left; }}
 td:first-child, td:nth-child(8) {{ white-space: normal; }}
</style>
<h1>Evaluation</h1><p>{questions} questions, {runs} runs.{left_out}</p>
{tables}
{figures}
</html>
"""


class _Told(Struct):
    confidence: float | None = None


class _Sure(Outcome):
    """How sure an ensemble was of an answer."""

    ensemble: _Told | None = None


class About(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run's file does not say: `--about FILE.toml`, a table for each run's name."""

    display_name: str = ""
    provider: str | None = None
    size_b: float | None = None
    size_estimated: bool | None = None
    latency_s: float | None = None
    cost: float | None = None
    energy_wh: float | None = None
    notes: str = ""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    parser = parser_of("plot", "Draw what runs are worth.")
    add_runs(parser)
    parser.add_argument("--about", type=Path, metavar="FILE", help="names, sizes, … (TOML)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("artifacts/plots"),
        metavar="DIR",
        help="default: artifacts/plots",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    collection = collect(options)
    warn(collection.truth)
    runs = read_runs(collection, _about(options.about), options.rounds, options.seed)
    written, left_out = write(runs, options.output)
    if options.json:
        print_json({"files": written, "left_out": left_out})
    else:
        print(f"{len(written)} files in {options.output}; report.html has everything.")
        for name in left_out:
            print(f"{name} is not drawn: the runs do not say what it needs.")
    return 0


def read_runs(collection: Collection, about: dict[str, About], rounds: int, seed: int) -> list[Run]:
    """What the figures show. Raises ClientError: runs that do not have the same questions."""
    found: list[Run] = []
    for one in graded(collection):
        found.append(_run(one, about.get(one.experiment.name, About()), rounds, seed))
        if len(found[0].right) != len(found[-1].right):
            raise ClientError(f"{one.experiment.name} has not the questions of the other runs.")
    unknown = sorted(set(about) - {experiment.name for experiment in collection.experiments})
    if unknown:
        raise ClientError(f"--about: there is no run '{unknown[0]}'.")
    return found


def write(runs: Sequence[Run], folder: Path) -> tuple[list[str], list[str]]:
    """Write all files; returns their names, and the figures that lack what they need."""
    written: list[str] = []
    left_out: list[str] = []
    parts: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (what, _) in FIGURES.items():
            figure = draw(name, runs)
            if figure is None:
                left_out.append(name)
                continue
            png = io.BytesIO()
            figure.savefig(png, format="png", dpi=DPI)
            (folder / f"{name}.png").write_bytes(png.getvalue())
            figure.savefig(folder / f"{name}.svg")
            written += [str(folder / f"{name}.png"), str(folder / f"{name}.svg")]
            coded = base64.b64encode(png.getvalue()).decode()
            parts.append(
                f'<figure><img alt="{html.escape(what)}" src="data:image/png;base64,{coded}">'
                f"<figcaption>{html.escape(what)}</figcaption></figure>"
            )
        page = folder / "report.html"
        page.write_text(_page(runs, parts, left_out), encoding="utf-8")
    except OSError as error:
        raise ClientError(f"Cannot write {folder}: {error.strerror}.") from error
    return [*written, str(page)], left_out


def _run(one: Graded, about: About, rounds: int, seed: int) -> Run:
    summary = _summary(one)
    found = cast("dict[str, Any]", report(one.grades, rounds, seed))
    name = one.experiment.name
    size, estimated = about.size_b or summary.get("size_b"), about.size_estimated
    if size is None and (guess := SIZE.search(str(summary.get("model") or name))):
        size = float(guess[1]) * (1.0 if guess[2].lower() == "b" else 1e-3)
        estimated = True if estimated is None else estimated
    questions = len(one.grades)
    latency = cast("dict[str, float]", summary.get("latency_ms") or {}).get("p50")
    cost = summary.get("cost")
    return Run(
        label=about.display_name or summary.get("display_name") or name,
        figures={key: value for key, value in found.items() if isinstance(value, float)},
        intervals=_spans(found["intervals"]),
        right=one.grades.right,
        blank=one.grades.blank,
        evidence={
            kind: float(one.grades.right[flags].mean())
            for kind, flags in one.grades.evidence.items()
            if flags.any()
        },
        provider=about.provider or summary.get("provider") or "local",
        size_b=size,
        size_estimated=bool(estimated if estimated is not None else summary.get("size_estimated")),
        latency_s=about.latency_s or (latency / 1000 if latency else None),
        cost=about.cost if about.cost is not None else (cost / questions if cost else None),
        energy_wh=about.energy_wh
        if about.energy_wh is not None
        else summary.get("energy_wh_per_question"),
        reliability=_reliability(one),
        notes=about.notes or str(summary.get("notes") or ""),
    )


def _reliability(one: Graded) -> Reliability | None:
    """Of the confidence that the run's answers tell; None: they do not."""
    rules = one.grades.rules
    if one.experiment.folder is None or rules.metric == "retrieval":
        return None
    told = {
        record.id.strip().lower(): record.ensemble.confidence
        for record in read_records(one.experiment.folder, _Sure)
        if record.error is None and record.ensemble is not None
    }
    ids = one.submission.column(rules.columns.id)
    sure = [told.get(ids[row].strip().lower()) for _, row in one.grades.pairing.rows]
    known = np.array([value is not None for value in sure])
    if not known.any():
        return None
    right = nearly_right(one.grades)[known]
    return reliability(np.array([value for value in sure if value is not None]), right)


def _spans(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (one.low, one.high) for name, one in found.items()}


def _summary(one: Graded) -> dict[str, Any]:
    if one.experiment.folder is None:
        return {}
    try:
        found: object = json.loads((one.experiment.folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _about(path: Path | None) -> dict[str, About]:
    if path is None:
        return {}
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), dict[str, About])
    except OSError as error:
        raise ClientError(f"Cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ClientError(f"{path}: {error}.") from error


def _page(runs: Sequence[Run], figures: Sequence[str], left_out: Sequence[str]) -> str:
    names = list(runs[0].figures)
    ordered = sorted(runs, key=lambda run: -run.figures["overall"])
    scores = [
        [run.label, *(f"{run.figures[name]:.3f}" for name in names), _span(run)] for run in ordered
    ]
    kinds = list(runs[0].evidence)
    types = [[run.label, *(f"{run.evidence[kind]:.3f}" for kind in kinds)] for run in ordered]
    tables = _table(["run", *names, "overall, 95 %"], scores)
    tables += "<h2>Models</h2>" + _models(ordered)
    if kinds:
        tables += "<h2>Share right by type of evidence</h2>" + _table(["run", *kinds], types)
    gone = f" Not drawn, for want of figures: {', '.join(left_out)}." if left_out else ""
    return PAGE.format(
        questions=len(runs[0].right),
        runs=len(runs),
        left_out=gone,
        tables=tables,
        figures="\n".join(figures),
    )


def _models(runs: Sequence[Run]) -> str:
    """What is known of each run's model, and what a question costs."""
    heads = ["run", "provider", "size, B", "seconds", "US dollars", "Wh", "notes"]
    rows = [
        [
            run.label,
            run.provider,
            _number(run.size_b) + (" (estimated)" if run.size_estimated else ""),
            *map(_number, (run.latency_s, run.cost, run.energy_wh)),
            run.notes,
        ]
        for run in runs
    ]
    return _table(heads, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _span(run: Run) -> str:
    span = run.intervals.get("overall")
    return f"{span[0]:.3f} to {span[1]:.3f}" if span else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(one.replace('_', ' '))}</th>" for one in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
