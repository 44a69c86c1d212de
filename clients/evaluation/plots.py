"""The figures of `jurat evaluate plot`. One of the two users of matplotlib, an optional package.

Colours are Okabe and Ito's, which every eye tells apart; local models are squares and upstream ones
circles, filled where their size is known and hollow where it is estimated.
"""

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from clients.api import ClientError

__all__ = ["FIGURES", "Run", "draw"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = {"local": "s", "upstream": "o"}
FONT = 9.0
MAX_WRITTEN = 900  # cells of a heat map with their numbers
# Where a label may stand around its mark, in points: the first place that is free is taken.
PLACES = [
    (x * far, y * far)
    for far in (7, 13, 20, 28, 38, 50)
    for x, y in ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0, 1.2), (0, -1.2))
]

Array = NDArray[Any]


class Run(Struct, frozen=True, kw_only=True):
    """What the figures show of one run. Arrays have one place a question."""

    label: str
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    right: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    evidence: dict[str, float]  # share right, by type
    provider: str = "local"
    size_b: float | None = None
    size_estimated: bool = False
    latency_s: float | None = None
    cost: float | None = None
    energy_wh: float | None = None


class _Lacking(Exception):
    """A figure for which the runs say too little."""


def draw(name: str, runs: Sequence[Run]) -> Any:
    """The figure of that name, or None where the runs say too little for it. Raises ClientError."""
    figure = _matplotlib().Figure(layout="constrained")
    try:
        FIGURES[name][1](figure, runs)
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


def _colour(at: int) -> str:
    return COLOURS[at % len(COLOURS)]


def _size_scores(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.figures["overall"])
    names = list(known[0].figures)[:4]
    figure.set_size_inches(11, 8)
    panels = figure.subplots(2, 2).flat
    for axes, name in itertools.zip_longest(panels, names):
        if name is None:
            axes.set_visible(False)
            continue
        _scatter(axes, known, [run.size_b for run in known], [r.figures[name] for r in known])
        axes.set(title=name.replace("_", " "), ylabel="score")
        _size_axis(axes)
    _label_all(figure)


def _size_latency(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.latency_s)
    _one_scatter(figure, known, "size_b", "latency_s", "seconds a question (median)")


def _size_cost(figure: Any, runs: Sequence[Run]) -> None:
    known = _sized(runs, lambda run: run.cost)
    _one_scatter(figure, known, "size_b", "cost", "US dollars a question")


def _cost_performance(figure: Any, runs: Sequence[Run]) -> None:
    known = _enough([run for run in runs if run.cost is not None])
    figure.set_size_inches(8, 5.5)
    axes = figure.subplots()
    _scatter(axes, known, [run.cost for run in known], [r.figures["overall"] for r in known])
    axes.set(xlabel="US dollars a question", ylabel="overall score", title="cost and performance")
    _label_all(figure)


def _bubbles(figure: Any, runs: Sequence[Run]) -> None:
    """Latency against score; the area is the size."""
    known = _sized(runs, lambda run: run.latency_s)
    figure.set_size_inches(9, 6)
    axes = figure.subplots()
    areas = [40 + 25 * (run.size_b or 0) ** 0.8 for run in known]
    times, scores = [run.latency_s for run in known], [run.figures["overall"] for run in known]
    _scatter(axes, known, times, scores, areas)
    axes.set(
        xlabel="seconds a question (median)", ylabel="overall score",
        title="latency, score and size (area)",
    )  # fmt: skip
    axes.margins(0.15)
    _label_all(figure)


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
        axes.text(max(score, high) + 0.01, at, f"{score:.3f}", va="center", fontsize=FONT)
    axes.set(xlabel="overall score, 95 % interval", title="ranking", xlim=(0, 1.1))


def _breakdown(figure: Any, runs: Sequence[Run]) -> None:
    ordered = sorted(runs, key=lambda run: -run.figures["overall"])
    names = list(ordered[0].figures)[:4]
    rows = [[run.figures[name] for run in ordered] for name in names]
    _grouped(figure, [run.label for run in ordered], names, rows, "score breakdown")


def _by_type(figure: Any, runs: Sequence[Run]) -> None:
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.evidence))
    if not kinds:
        raise _Lacking
    figure.set_size_inches(1.1 * len(kinds) + 4.5, 0.42 * len(runs) + 2)
    grid = np.array([[run.evidence.get(kind, np.nan) for kind in kinds] for run in runs])
    _heat(figure, grid, kinds, [run.label for run in runs], "share right by type of evidence")


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
    axes = _bars(figure, known)
    axes.barh(range(len(known)), [run.energy_wh for run in known], color=COLOURS[2])
    axes.set(xlabel="watt-hours a question", title="energy")


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
}


def _pairs(runs: Sequence[Run]) -> Sequence[Run]:
    if len(runs) < 2:
        raise _Lacking
    return runs


def _bars(figure: Any, runs: Sequence[Run]) -> Any:
    figure.set_size_inches(8, 0.4 * len(runs) + 1.5)
    axes = figure.subplots()
    axes.set_yticks(range(len(runs)), [run.label for run in runs])
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def _grouped(
    figure: Any, labels: Sequence[str], names: Sequence[str], rows: Sequence[Any], title: str
) -> None:
    figure.set_size_inches(max(8.0, 1.5 * len(labels) + 1), 5)
    axes = figure.subplots()
    width = 0.8 / len(names)
    for at, (name, values) in enumerate(zip(names, rows, strict=True)):
        shift = (at - (len(names) - 1) / 2) * width
        xs = np.arange(len(labels)) + shift
        axes.bar(xs, values, width, label=name.replace("_", " "), color=_colour(at))
    axes.set_xticks(range(len(labels)), labels, rotation=25, ha="right", rotation_mode="anchor")
    axes.set(ylim=(0, 1.02), ylabel="score", title=title)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False)


def _square(figure: Any, runs: Sequence[Run], grid: Array, title: str) -> None:
    side = 0.62 * len(runs) + 3
    figure.set_size_inches(side + 0.8, side)
    labels = [run.label for run in runs]
    _heat(figure, grid, labels, labels, title)


def _heat(
    figure: Any, grid: Array, columns: Sequence[str], rows: Sequence[str], title: str
) -> None:
    axes = figure.subplots()
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, fontsize=FONT + 1)
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
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


def _one_scatter(figure: Any, runs: Sequence[Run], x: str, y: str, label: str) -> None:
    figure.set_size_inches(8, 5.5)
    axes = figure.subplots()
    _scatter(axes, runs, [getattr(run, x) for run in runs], [getattr(run, y) for run in runs])
    axes.set_ylabel(label)
    _size_axis(axes)
    axes.set_ylim(bottom=0)
    _label_all(figure)


def _scatter(
    axes: Any, runs: Sequence[Run], xs: Sequence[Any], ys: Sequence[Any], areas: Any = None
) -> None:
    for at, (run, x, y) in enumerate(zip(runs, xs, ys, strict=True)):
        colour = _colour(at)
        axes.scatter(
            [x], [y], s=areas[at] if areas else 55, marker=MARKERS.get(run.provider, "s"),
            facecolors="none" if run.size_estimated else colour, edgecolors=colour,
            linewidths=1.5, alpha=0.85,
        )  # fmt: skip
        axes.annotate(
            run.label, (x, y), (0, 0), textcoords="offset points", fontsize=FONT,
            ha="center", va="center", arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6},
        )  # fmt: skip
    axes.margins(0.18)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def _label_all(figure: Any) -> None:
    """Move each label to the first place where it covers neither a mark nor another label."""
    handles = [
        importlib.import_module("matplotlib.lines").Line2D(
            [], [], marker=marker, linestyle="none", color="#555555", label=name
        )
        for name, marker in MARKERS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    canvas = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()  # lays the figure out, so that places on it are known
    renderer = canvas.get_renderer()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        radii = [float(mark.get_sizes()[0]) ** 0.5 / 2 for mark in axes.collections]
        marks = [
            _around(axes.transData.transform(text.xy), radius * figure.dpi / 72)
            for text, radius in zip(axes.texts, radii, strict=True)
        ]
        taken: list[Any] = list(marks)
        frame = axes.get_window_extent(renderer)
        for text, radius in zip(axes.texts, radii, strict=True):
            _place(text, radius, taken, frame, renderer)


def _around(centre: Any, radius: float) -> Any:
    box = importlib.import_module("matplotlib.transforms").Bbox
    return box([[value - radius for value in centre], [value + radius for value in centre]])


def _place(text: Any, radius: float, taken: list[Any], frame: Any, renderer: Any) -> None:
    """`radius` of the label's own mark, in points."""
    for x, y in PLACES:
        text.set_position((x + np.sign(x) * radius * 0.8, y + np.sign(y) * radius * 0.8))
        text.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
        box = _text_box(text, renderer)
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
        inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            break
    taken.append(_text_box(text, renderer))


def _text_box(text: Any, renderer: Any) -> Any:
    """The label's own box, without its line to the mark."""
    text.update_positions(renderer)
    return importlib.import_module("matplotlib.text").Text.get_window_extent(text, renderer)


def _size_axis(axes: Any) -> None:
    """Sizes as plain numbers on a scale of ratios."""
    ticker = importlib.import_module("matplotlib.ticker")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("billions of parameters")


def _matplotlib() -> Any:
    """To the type checker it is Any: it need not be installed."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ClientError(
            "jurat evaluate plot needs matplotlib: install it with `pip install 'jurat[plot]'`."
        ) from error
