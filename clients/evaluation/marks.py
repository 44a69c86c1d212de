"""How a run is shown in a figure: its name, its colour, its mark. A home of matplotlib.

Colours are Okabe and Ito's, which every eye tells apart (grey for their yellow, which is faint on
white), and never the only sign; local models are
squares and upstream ones circles, filled where their size is known and hollow where it is
estimated. Scatter plots number their marks and name the numbers beside the plot: so names may be
long and marks close.
"""

import importlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from clients.evaluation.calibration import Reliability

__all__ = ["COLOURS", "FONT", "Run", "colour", "label_all", "scatter", "size_axis"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#999999")
MARKERS = {"local": "s", "upstream": "o"}
FONT = 9.0
LINE_CHARS = 32  # of a run's name; a name has two lines at most
GAP = 2.0  # pixels around a number: 2 and 3 side by side must not read as 23
LINE_INCHES = 0.2  # of the list of names
# Where a label may stand around its mark, in points: the first place that is free is taken.
PLACES = [
    (x * far, y * far)
    for far in (7, 13, 20, 28, 38, 50)
    for x, y in ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0, 1.2), (0, -1.2))
]


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
    reliability: Reliability | None = None  # of its confidence, where it tells one
    notes: str = ""
    place: int = 1  # among all runs, the best first: its number and colour in every scatter plot

    @property
    def name(self) -> str:
        """The label in at most two lines: of a longer one its beginning and its end, where names
        of many runs differ."""
        lines = textwrap.wrap(self.label, LINE_CHARS)
        if len(lines) > 2:
            lines = [f"{lines[0]}…", textwrap.wrap(self.label[::-1], LINE_CHARS)[0][::-1]]
        return "\n".join(lines)


def colour(at: int) -> str:
    """The colour of the nth run, or part."""
    return COLOURS[at % len(COLOURS)]


def scatter(
    axes: Any, runs: Sequence[Run], xs: Sequence[Any], ys: Sequence[Any], areas: Any = None
) -> None:
    """Marks with their runs' numbers; `areas` in square points. `label_all` comes after it."""
    for at, (run, x, y) in enumerate(zip(runs, xs, ys, strict=True)):
        ink = colour(run.place - 1)
        axes.scatter(
            [x], [y], s=areas[at] if areas else 55, marker=MARKERS.get(run.provider, "s"),
            facecolors="none" if run.size_estimated else ink, edgecolors=ink,
            linewidths=1.5, alpha=0.85,
        )  # fmt: skip
        axes.annotate(
            str(run.place), (x, y), (0, 0), textcoords="offset points", fontsize=FONT,
            ha="center", va="center", arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6},
        )  # fmt: skip
    axes.margins(0.18)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def label_all(figure: Any, runs: Sequence[Run]) -> None:
    """Say beside the plot whose number is whose, and move each number to the first place where it
    covers neither a mark nor another one.
    """
    lines = sum(run.name.count("\n") + 1 for run in runs) + 3
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, max(height, LINE_INCHES * lines + 0.5))
    figure.legend(
        handles=[
            *(
                _mark(
                    f"{run.place}  {run.name}", run.provider, colour(run.place - 1),
                    hollow=run.size_estimated,
                )
                for run in runs
            ),
            *(_mark(name, name, "#555555") for name in MARKERS),
            *([_mark("size estimated", "local", "#555555", hollow=True)] if any(
                run.size_estimated for run in runs) else []),
        ],
        loc="outside right upper", frameon=False, fontsize=FONT, labelspacing=0.6,
    )  # fmt: skip
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


def _mark(label: str, provider: str, ink: str, *, hollow: bool = False) -> Any:
    """An entry of a legend."""
    line = importlib.import_module("matplotlib.lines").Line2D
    return line(
        [], [], linestyle="none", marker=MARKERS.get(provider, "s"), label=label,
        markeredgecolor=ink, markerfacecolor="none" if hollow else ink,
    )  # fmt: skip


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
    """The label's own box and a gap around it, without its line to the mark."""
    text.update_positions(renderer)
    box = importlib.import_module("matplotlib.text").Text.get_window_extent(text, renderer)
    return box.padded(GAP)


def size_axis(axes: Any) -> None:
    """Sizes as plain numbers on a scale of ratios."""
    ticker = importlib.import_module("matplotlib.ticker")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("billions of parameters")
