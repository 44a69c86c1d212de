import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.evaluation import plot
from clients.evaluation.experiment import Record, write_run
from clients.evaluation.main import main
from clients.evaluation.marks import Run
from clients.evaluation.plot import SIZE
from clients.evaluation.plots import FIGURES, draw


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    folder.mkdir()
    head = "id,answer_value,ref_id"
    for name, right in (("small-135m", 3), ("big-7b", 6), ("<huge>-70b", 8)):
        rows = [f"q{n},{n if n < right else 'is_blank'},a" for n in range(10)]
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder


def test_long_names_keep_what_tells_them_apart() -> None:
    none: Any = np.zeros(1, bool)
    names = [
        f"the run of everything that somebody asked on a Monday with qwen-{n}b" for n in (1, 2)
    ]
    shown = [
        Run(label=name, figures={}, intervals={}, right=none, blank=none, evidence={}).name
        for name in names
    ]
    assert shown[0] != shown[1]
    assert all(len(line) <= 33 for name in shown for line in name.splitlines())
    assert [name.count("\n") for name in shown] == [1, 1]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Some of the figures, small: to lay all of them out takes long."""
    names = ("ranking", "size_latency", "size_cost", "accuracy_by_type", "energy", "reliability")
    chosen = {name: FIGURES[name] for name in names}
    monkeypatch.setattr(plot, "FIGURES", chosen)
    monkeypatch.setattr(plot, "DPI", 40)
    return chosen


def plotted(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    assert main(["plot", *map(str, argv), "--rounds", "50", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_can_be_drawn_is_and_the_report_stands_alone(
    runs: Path, few: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth.csv"
    rows = [f"q{n},{n},a,{n % 2}" for n in range(10)]
    truth.write_text("\n".join(["id,answer_value,ref_id,Quote", *rows]) + "\n")
    about = tmp_path / "about.toml"
    about.write_text('["big-7b"]\nlatency_s = 2.0\nprovider = "upstream"\ndisplay_name = "Big"\n')
    out = tmp_path / "plots"
    argv = ["--submissions", runs, "--questions", truth, "--output", out, "--about", about]
    found = plotted(capsys, *argv)
    assert set(found["left_out"]) == {"size_cost", "energy", "reliability"}
    names = {Path(name).name for name in found["files"]}
    assert {"ranking.png", "ranking.svg", "size_latency.svg", "report.html"} <= names
    assert len(names) == 2 * (len(few) - 3) + 1
    assert (out / "ranking.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(few) - 3
    assert "http" not in page
    assert "&lt;huge&gt;-70b" in page
    about.write_text("[other]\nsize_b = 1\n")
    assert main(["plot", *map(str, argv)]) == 1
    assert "no run 'other'" in capsys.readouterr().err


def test_labels_do_not_overlap_and_names_are_whole() -> None:
    right = np.ones(4, dtype=bool)
    crowd = [
        Run(
            label=f"a model with a name too long for one line, number {n}",
            figures={"overall": 0.8 + n / 1000}, intervals={}, right=right, blank=~right,
            evidence={}, size_b=7.0 + n / 20, latency_s=1.0 + n / 50,
        )
        for n in range(20)
    ]  # fmt: skip
    figure = draw("size_latency", crowd)
    axes = figure.axes[0]
    renderer = figure.canvas.get_renderer()
    text = type(axes.title)
    boxes = [text.get_window_extent(label, renderer) for label in axes.texts]
    pairs = [(a, b) for a in range(20) for b in range(a)]
    assert [pair for pair in pairs if boxes[pair[0]].overlaps(boxes[pair[1]])] == []
    (key,) = figure.legends
    names = [entry.get_text().replace("\n", " ") for entry in key.get_texts()]
    assert names[0] == "1  a model with a name too long for one line, number 19"
    assert len(names) == 22
    box = key.get_window_extent(renderer)
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_confidence_is_held_against_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["id,answer_value,ref_id", *(f"q{n},{n},a" for n in range(10))]))
    records = [
        Record(
            id=f"q{n}",
            answer_value=str(n if n < 7 else 99),
            ref_id=["a"],
            ensemble={"confidence": 0.9 if n < 8 else 0.2, "votes": []} if n else None,
        )
        for n in reversed(range(10))
    ]
    write_run(tmp_path / "runs" / "sure", records, {})
    seen: list[Run] = []

    def keep(runs: list[Run], _: Path) -> tuple[list[str], list[str]]:
        seen.extend(runs)
        return [], []

    monkeypatch.setattr(plot, "write", keep)
    plotted(capsys, "--questions", truth, "--experiments-dir", tmp_path / "runs")
    found = seen[0].reliability
    assert found is not None
    assert found.answers == 9  # one question has no confidence
    assert [(one.answers, one.right) for one in found.bins] == [(2, 0.0), (7, pytest.approx(6 / 7))]
    assert found.ece == pytest.approx((2 * 0.2 + 7 * (0.9 - 6 / 7)) / 9)
    figure = draw("reliability", [*seen, *seen, *seen, *seen])
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_that_lacks_what_it_needs_is_left_out(name: str) -> None:
    right = np.array([True, False])
    bare = [
        Run(
            label=str(n),
            figures={"overall": 0.5},
            intervals={},
            right=right,
            blank=right,
            evidence={},
        )
        for n in range(2)
    ]
    drawn = {"ranking", "score_breakdown", "agreement", "complementarity", "refusals"}
    drawn |= {"unique_wins", "difficulty"}
    assert (draw(name, bare) is not None) is (name in drawn)


@pytest.mark.parametrize(
    ("name", "size"),
    [("qwen3-30b-a3b", "30"), ("smollm2-135m", "135"), ("Llama 3.1 8B", "8"), ("gpt-4o", None)],
)
def test_a_size_is_read_off_a_name(name: str, size: str | None) -> None:
    found = SIZE.search(name)
    assert (found[1] if found else None) == size
