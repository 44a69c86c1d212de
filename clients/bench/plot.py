"""`--plot`: the figures of a run as a picture. The only user of matplotlib, an optional package."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients.api import ClientError
from clients.bench.measure import Cell, Percentiles
from clients.bench.report import Report

__all__ = ["check_plot", "draw"]

FORMATS = (".png", ".svg")
ROW_INCHES = 3.2
WIDTH_INCHES = 12.0
OFFSET = 0.12  # between servers at one case, in widths of a case


def check_plot(path: Path) -> None:
    """Refuse before the measurement what could not be drawn after it. Raises ClientError."""
    if path.suffix.lower() not in FORMATS:
        raise ClientError(
            f"--plot takes a file that ends with {' or '.join(FORMATS)}, not '{path}'."
        )
    if not path.absolute().parent.is_dir():
        raise ClientError(f"--plot: there is no folder '{path.parent}'.")
    _matplotlib()


def draw(path: Path, reports: Sequence[Report]) -> None:
    """One row a workload: throughput, and the times that a client waits. Raises ClientError."""
    if not reports:
        raise ClientError("--plot: there is nothing to draw; no workload was run.")
    # A figure of its own, not pyplot's: that keeps global state and looks for a display.
    figure = _matplotlib().Figure(
        figsize=(WIDTH_INCHES, ROW_INCHES * len(reports)), layout="constrained"
    )
    grid = figure.subplots(len(reports), 2, squeeze=False)
    for (left, right), report in zip(grid, reports, strict=True):
        _throughput(left, report)
        _latency(right, report)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ClientError(f"Cannot write {path}: {error.strerror}.") from error


def _throughput(axes: Any, report: Report) -> None:
    """A dash for every round; the bar spans them all, the mark is the median."""
    for server, at, cells in _by_server(report):
        drawn = [
            (x, cell) for x, cell in zip(at, cells, strict=True) if cell.units_per_s is not None
        ]
        if not drawn:
            continue
        xs = [x for x, _ in drawn]
        rounds = [[each for each in cell.rounds if each is not None] for _, cell in drawn]
        middle = [cell.units_per_s or 0.0 for _, cell in drawn]
        below = [value - min(each) for value, each in zip(middle, rounds, strict=True)]
        above = [max(each) - value for value, each in zip(middle, rounds, strict=True)]
        bars = axes.errorbar(xs, middle, yerr=[below, above], fmt="o", capsize=4, label=server)
        colour = bars.lines[0].get_color()
        for x, each in zip(xs, rounds, strict=True):
            # Beside the bar, which would hide them.
            axes.plot([x + OFFSET / 3] * len(each), each, "_", color=colour, markersize=6)
    axes.set_title(f"{report.workload}: {report.unit}/s, median and {report.rounds} rounds")
    _frame(axes, report)


def _latency(axes: Any, report: Report) -> None:
    """The mark is the median request, the bar goes up to p95."""
    for server, at, cells in _by_server(report):
        timed = [_waited(report, cell) for cell in cells]
        drawn = [(x, *pair) for x, each in zip(at, timed, strict=True) if (pair := _ms(each))]
        if drawn:
            xs, middle, high = zip(*drawn, strict=True)
            above = [b - a for a, b in zip(middle, high, strict=True)]
            below = [0.0] * len(above)
            axes.errorbar(xs, middle, yerr=[below, above], fmt="o", capsize=4, label=server)
        else:
            axes.errorbar([], [], fmt="o", label=server)  # so that colours stay the servers'
    axes.set_title(f"{report.workload}: ms {_wait(report)}, median and p95")
    _frame(axes, report)


def _wait(report: Report) -> str:
    if report.unit == "texts":
        return "of a request"
    return "between texts" if report.workload == "mixed" else "to the first text"


def _waited(report: Report, cell: Cell) -> Percentiles:
    if report.unit == "texts":
        return cell.latency_ms
    return cell.inter_token_ms if report.workload == "mixed" else cell.ttft_ms


def _frame(axes: Any, report: Report) -> None:
    cases = _cases(report)
    axes.set_xticks(range(len(cases)), [case.replace(", ", "\n") for case in cases])
    axes.set_xlim(-0.5, len(cases) - 0.5)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)


def _cases(report: Report) -> list[str]:
    return list(dict.fromkeys(cell.case for cell in report.results))


def _by_server(report: Report) -> list[tuple[str, list[float], list[Cell]]]:
    """Each server's cells and where they stand: side by side within a case."""
    servers = list(report.waves)
    cases = _cases(report)
    made: list[tuple[str, list[float], list[Cell]]] = []
    for n, server in enumerate(servers):
        cells = [cell for cell in report.results if cell.server == server]
        shift = OFFSET * (n - (len(servers) - 1) / 2)
        made.append((server, [cases.index(cell.case) + shift for cell in cells], cells))
    return made


def _ms(times: Percentiles) -> tuple[float, float] | None:
    return None if times.p50 is None or times.p95 is None else (times.p50, times.p95)


def _matplotlib() -> Any:
    """To the type checker it is Any: it need not be installed."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ClientError(
            "--plot needs matplotlib: install it with `pip install 'jurat[plot]'`."
        ) from error
