"""The figures of `jurat evaluate plot`. A home of matplotlib, an optional package."""

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from clients.api import ClientError
from clients.evaluation.marks import COLOURS, FONT, Run, colour, label_all, scatter, size_axis

__all__ = ["FIGURES", "draw"]

PARTS = ("o", "s", "^", "D")  # marks of the parts of a score
PANELS = 3  # beside each other
LEAST_SPAN = 0.02  # of a heat map's colours
MAX_WRITTEN = 900  # cells of a heat map with their numbers
Array = NDArray[Any]


class _Lacking(Exception):
    """A figure for which the runs say too little."""


def draw(name: str, runs: Sequence[Run]) -> Any:
    """The figure of that name, or None where the runs say too little for it. Raises ClientError."""
    figure = _matplotlib().Figure(layout="constrained")
    ordered = sorted(runs, key=lambda run: -run.figures["overall"])
    ranked = [msgspec.structs.replace(run, place=place) for place, run in enumerate(ordered, 1)]
    try:
        FIGURES[name][1](figure, ranked)
    except _Lacking:
        return None
    return figure


def _sized(runs: Sequence[Run], what: Callable[[Run], float | None]) -> list[Run]:
    known = [run for run in runs if run.size_b is not None and what(run) is not None]
    return _enough(known)


def _enough(runs: Sequence[Run]) -> list[Run]:
    if not runs:
        raise _Lacking
    return list(runs)


def _parts(runs: Sequence[Run]) -> list[str]:
    """The overall score and the first three figures that are not the same by another name."""
    whole = [run.figures["overall"] for run in runs]
    others = [n for n in runs[0].figures if [run.figures[n] for run in runs] != whole]
    return ["overall", *others][:4]


def _size_scores(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.figures["overall"])
    names = _parts(known)
    figure.set_size_inches(13, 8)
    panels = figure.subplots(2, 2).flat
    for axes, name in itertools.zip_longest(panels, names):
        if name is None:
            axes.set_visible(False)
            continue
        scatter(axes, known, [run.size_b for run in known], [r.figures[name] for r in known])
        axes.set(title=name.replace("_", " "), ylabel="score")
        size_axis(axes)
    label_all(figure, known)


def _size_latency(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.latency_s)
    _against_size(figure, known, "latency_s", "seconds a question (median)", "size and latency")


def _size_cost(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.cost)
    _against_size(figure, known, "cost", "US dollars a question", "size and cost")


def _cost_performance(figure: Any, runs: Sequence[Run]) -> None:
    known = _enough([run for run in runs if run.cost is not None])
    figure.set_size_inches(10, 5.5)
    axes = figure.subplots()
    scatter(axes, known, [run.cost for run in known], [r.figures["overall"] for r in known])
    axes.set(xlabel="US dollars a question", ylabel="overall score", title="cost and performance")
    label_all(figure, known)


def _bubbles(figure: Any, runs: Sequence[Run]) -> None:
    """Latency against score; the area is the size."""
    known = _sized(runs, lambda run: run.latency_s)
    figure.set_size_inches(10.5, 6)
    axes = figure.subplots()
    areas = [40 + 25 * (run.size_b or 0) ** 0.8 for run in known]
    times, scores = [run.latency_s for run in known], [run.figures["overall"] for run in known]
    scatter(axes, known, times, scores, areas)
    axes.set(
        xlabel="seconds a question (median)", ylabel="overall score",
        title="latency, score and size (area)",
    )  # fmt: skip
    axes.margins(0.15)
    label_all(figure, known)


def _ranking(figure: Any, runs: Sequence[Run]) -> None:
    ordered = sorted(runs, key=lambda run: run.figures["overall"])
    axes = _bars(figure, ordered)
    scores = [run.figures["overall"] for run in ordered]
    ends = [
        run.intervals.get("overall", (score, score))
        for run, score in zip(ordered, scores, strict=True)
    ]
    below = [score - low for score, (low, _) in zip(scores, ends, strict=True)]
    above = [high - score for score, (_, high) in zip(scores, ends, strict=True)]
    axes.barh(
        range(len(ordered)), scores, color=COLOURS[0], xerr=[below, above], capsize=3, alpha=0.85
    )
    for at, (score, (_, high)) in enumerate(zip(scores, ends, strict=True)):
        axes.text(max(score, high) + 0.02, at, f"{score:.3f}", va="center", fontsize=FONT)
    axes.set(xlabel="overall score, 95 % interval", title="ranking", xlim=(0, 1.1))


def _breakdown(figure: Any, runs: Sequence[Run]) -> None:
    ordered = sorted(runs, key=lambda run: run.figures["overall"])
    names = _parts(ordered)
    axes = _bars(figure, ordered)
    figure.set_size_inches(8, 0.55 * len(ordered) + 2)  # a row holds a mark below the other
    rows = np.arange(len(ordered))
    for at, name in enumerate(names):
        values = [run.figures[name] for run in ordered]
        shift = ((len(names) - 1) / 2 - at) * 0.2  # equal values stay apart
        axes.scatter(
            values, rows + shift, marker=PARTS[at], color=colour(at), label=name.replace("_", " ")
        )
    for row in rows[:-1]:
        axes.axhline(row + 0.5, color="#dddddd", lw=0.6)
    axes.set(xlim=(-0.02, 1.02), xlabel="score", title="score breakdown")
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False)


def _by_type(figure: Any, runs: Sequence[Run]) -> None:
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.evidence))
    if not kinds:
        raise _Lacking
    figure.set_size_inches(1.1 * len(kinds) + 4.5, 0.42 * len(runs) + 2)
    grid = np.array([[run.evidence.get(kind, np.nan) for kind in kinds] for run in runs])
    _heat(figure, grid, kinds, [run.name for run in runs], "share right by type of evidence")


def _agreement(figure: Any, runs: Sequence[Run]) -> None:
    right = np.stack([run.right for run in _pairs(runs)])
    grid = (right[:, None] == right[None]).mean(axis=2)
    _square(figure, runs, grid, "agreement: share of questions both right or both wrong")


def _complementarity(figure: Any, runs: Sequence[Run]) -> None:
    right = np.stack([run.right for run in _pairs(runs)])
    grid = (right[:, None] | right[None]).mean(axis=2)
    _square(figure, runs, grid, "complementarity: share that at least one of two has right")


def _refusals(figure: Any, runs: Sequence[Run]) -> None:
    ordered = sorted(runs, key=lambda run: float(run.blank.mean()))
    axes = _bars(figure, ordered)
    shares = [float(run.blank.mean()) for run in ordered]
    axes.barh(range(len(ordered)), shares, color=COLOURS[1])
    for at, share in enumerate(shares):
        axes.text(share, at, f" {share:.1%}", va="center", fontsize=FONT)
    axes.set(xlabel="share of questions without a value", title="refusal rates")
    axes.set_xlim(0, max([*shares, 0.01]) * 1.2)


def _unique_wins(figure: Any, runs: Sequence[Run]) -> None:
    right = np.stack([run.right for run in _pairs(runs)])
    alone = right & (right.sum(axis=0) == 1)
    wins = alone.sum(axis=1)
    order: list[int] = np.argsort(wins, kind="stable").tolist()
    axes = _bars(figure, [runs[at] for at in order])
    axes.barh(range(len(runs)), wins[order], color=COLOURS[2])
    for at, count in enumerate(wins[order]):
        axes.text(count, at, f" {count}", va="center", fontsize=FONT)
    axes.set(xlabel="questions that this run alone has right", title="unique wins")
    axes.set_xlim(0, max(1, int(wins.max())) * 1.15)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _difficulty(figure: Any, runs: Sequence[Run]) -> None:
    right = np.stack([run.right for run in runs])
    counts = np.bincount(right.sum(axis=0), minlength=len(runs) + 1)
    figure.set_size_inches(8, 4.5)
    axes = figure.subplots()
    axes.bar(range(len(counts)), counts, color=COLOURS[5], edgecolor="#333333")
    for at, count in enumerate(counts):
        axes.text(at, count, str(count), ha="center", va="bottom", fontsize=FONT)
    axes.set(xlabel="runs that have the question right", ylabel="questions", title="difficulty")
    axes.set_xticks(range(len(counts)))
    axes.margins(y=0.12)


def _energy(figure: Any, runs: Sequence[Run]) -> None:
    known = _enough([run for run in runs if run.energy_wh is not None])
    ordered = sorted(known, key=lambda run: -(run.energy_wh or 0.0))
    axes = _bars(figure, ordered)
    used = [run.energy_wh or 0.0 for run in ordered]
    axes.barh(range(len(ordered)), used, color=COLOURS[2])
    for at, energy in enumerate(used):
        axes.text(energy, at, f" {energy:.3g}", va="center", fontsize=FONT)
    axes.set(xlabel="watt-hours a question", title="energy", xlim=(0, (max(used) or 1.0) * 1.15))


def _reliability(figure: Any, runs: Sequence[Run]) -> None:
    """A panel for each run that tells its confidence."""
    known = [(run.name, run.reliability) for run in runs if run.reliability is not None]
    if not known:
        raise _Lacking
    columns = min(len(known), PANELS)
    rows = -(-len(known) // columns)
    figure.set_size_inches(3.4 * columns + 0.6, 3.4 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(known) :]:
        axes.set_visible(False)
    for (name, found), axes in zip(known, panels.flat, strict=False):
        axes.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
        xs, ys = [one.confidence for one in found.bins], [one.right for one in found.bins]
        areas = [20 + 400 * one.answers / found.answers for one in found.bins]
        axes.plot(xs, ys, color=COLOURS[0], lw=1, alpha=0.6)
        axes.scatter(xs, ys, s=areas, color=COLOURS[0], alpha=0.75, zorder=3)
        axes.set_title(name, fontsize=FONT)
        axes.text(
            0.97, 0.04, f"ECE {found.ece:.3f}\n{found.answers} answers", ha="right", va="bottom",
            transform=axes.transAxes, fontsize=FONT,
        )  # fmt: skip
        axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
        axes.grid(alpha=0.3)
    figure.supxlabel("confidence (mean of a bin; area: its answers)", fontsize=FONT + 1)
    figure.supylabel("share right", fontsize=FONT + 1)


# Name of the file, what it shows, and who draws it.
FIGURES: dict[str, tuple[str, Callable[[Any, Sequence[Run]], None]]] = {
    "ranking": ("Overall scores with 95 % bootstrap intervals.", _ranking),
    "score_breakdown": ("The parts of the overall score.", _breakdown),
    "size_scores": ("Size against scores.", _size_scores),
    "size_latency": ("Size against latency.", _size_latency),
    "size_cost": ("Size against cost.", _size_cost),
    "bubbles": ("Latency, score, and size as area.", _bubbles),
    "cost_performance": ("Cost against performance.", _cost_performance),
    "accuracy_by_type": ("Share right by type of evidence.", _by_type),
    "agreement": ("How often two runs are right or wrong together.", _agreement),
    "complementarity": ("How often at least one of two runs is right.", _complementarity),
    "refusals": ("How often a run gives no value.", _refusals),
    "unique_wins": ("Questions that one run alone has right.", _unique_wins),
    "difficulty": ("How many runs have a question right.", _difficulty),
    "energy": ("Energy, where it was measured.", _energy),
    "reliability": (
        "Confidence against the share that is right, and the expected calibration error (ECE).",
        _reliability,
    ),
}


def _pairs(runs: Sequence[Run]) -> Sequence[Run]:
    if len(runs) < 2:
        raise _Lacking
    return runs


def _bars(figure: Any, runs: Sequence[Run]) -> Any:
    figure.set_size_inches(8, 0.4 * len(runs) + 1.5)
    axes = figure.subplots()
    axes.set_yticks(range(len(runs)), [run.name for run in runs])
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def _square(figure: Any, runs: Sequence[Run], grid: Array, title: str) -> None:
    side = 0.62 * len(runs) + 3
    figure.set_size_inches(side + 0.8, side)
    labels = [run.name for run in runs]
    _heat(figure, grid, labels, labels, title)


def _heat(
    figure: Any, grid: Array, columns: Sequence[str], rows: Sequence[str], title: str
) -> None:
    axes = figure.subplots()
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    low = min(low, high - LEAST_SPAN)
    image = axes.imshow(grid, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, fontsize=FONT + 1)
    if grid.size <= MAX_WRITTEN:
        for row, column in np.ndindex(*grid.shape):
            value = grid[row, column]
            if np.isfinite(value):
                ink = "white" if value < (low + high) / 2 else "black"
                axes.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    color=ink,
                    fontsize=FONT - 1,
                )
    figure.colorbar(image, ax=axes, shrink=0.8)


def _against_size(figure: Any, runs: Sequence[Run], what: str, label: str, title: str) -> None:
    figure.set_size_inches(10, 5.5)
    axes = figure.subplots()
    scatter(axes, runs, [run.size_b for run in runs], [getattr(run, what) for run in runs])
    axes.set(ylabel=label, title=title)
    size_axis(axes)
    axes.set_ylim(bottom=0)
    label_all(figure, runs)


def _matplotlib() -> Any:
    """To the type checker it is Any: it need not be installed."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ClientError(
            "jurat evaluate plot needs matplotlib: install it with `pip install 'jurat[plot]'`."
        ) from error
