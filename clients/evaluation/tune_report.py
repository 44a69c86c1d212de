"""What `jurat evaluate tune` reports: what was learnt, what it is worth, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table as Sheet

from clients.evaluation.bootstrap import Difference
from clients.evaluation.calibration import Reliability, reliability
from clients.evaluation.scoring import Rules, figures
from clients.evaluation.tuning import Held, Learnt, Trial, Tuner
from clients.show import console
from gateway.ensemble.settings import EnsembleSettings, labels

__all__ = ["plain", "report", "show", "verdict"]


def report(
    tuner: Tuner, held: Held, trial: Trial, learnt: Learnt, ensemble: EnsembleSettings
) -> dict[str, Any]:
    """All that is known, as `--json` prints it; `trial` is what all questions taught."""
    labelled = tuner.labelled
    now, wanted = _settings(ensemble, tuner.base, tuner.shipped), _settings(ensemble, trial, learnt)
    return {
        "ensemble": ensemble.id,
        "questions": len(labelled),
        "metric": labelled.rules.metric,
        "objective": tuner.objective,
        "searches": len(held.trials),
        "as_it_is": _figures(labelled.rules, held.before),
        "tuned": _figures(labelled.rules, held.after),
        "gain": {**plain(held.gain), "folds": held.folds},
        "settings": {
            name: {"now": now[name], "learnt": wanted[name], "changed_in": count}
            for name, count in _changed(tuner.base, held.trials, asked=tuner.floors).items()
        },
        "confidence": _confidence(held, asked=tuner.floors),
    }


def show(found: dict[str, Any]) -> None:
    """The report as tables."""
    out = console()
    out.print(
        f"{found['ensemble']}, {found['questions']} questions, {found['searches']} searches; "
        "every question is scored by what was learnt on others."
    )
    sheet = Sheet("", "as it is", "tuned", "")
    for name, value in found["as_it_is"].items():
        mark = "the objective" if name == found["objective"] else ""
        sheet.add_row(name.replace("_", " "), f"{value:.3f}", f"{found['tuned'][name]:.3f}", mark)
    out.print(sheet)
    sheet = Sheet("setting", "as it is", "learnt from all questions", "changed in")
    for name, one in found["settings"].items():
        times = f"{one['changed_in']} of {found['searches']}"
        sheet.add_row(name, one["now"], one["learnt"], times)
    out.print(sheet)
    _show_confidence(found["confidence"])
    if found.get("worked_out") is not None:
        out.print(
            f"Worked out from its votes, {found['worked_out']:.0%} of the values are the gateway's."
        )
    out.print(verdict(found))
    if found["file"]:
        out.print(f"Written to {found['file']}: {', '.join(found['written'])}.")
    else:
        out.print("Nothing is written.")


def verdict(found: dict[str, Any]) -> str:
    """The expected gain in a line, or that there is none."""
    gain = found["gain"]
    low, high = gain["interval"]
    figure = f"{gain['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    ahead = sum(one > 0 for one in gain["folds"])
    folds = f"ahead in {ahead} of {len(gain['folds'])} folds"
    brier = found["confidence"].get("brier_gain")
    more = " The fitted confidence is truer." if brier and brier["verdict"] == "beats" else ""
    if gain["verdict"] == "beats":
        return f"Expected gain of {found['objective']}: {figure}, {folds}.{more}"
    return f"No gain is shown: {found['objective']} {figure}, {folds}.{more}"


def plain(found: Difference) -> dict[str, Any]:
    """A difference as `--json` prints it."""
    return {"difference": found.mean, "interval": [found.low, found.high], "verdict": found.verdict}


def _show_confidence(found: dict[str, Any]) -> None:
    fitted: Reliability = found["fitted"]
    shipped: Reliability | None = found.get("as_it_is")
    title = f"confidence of {fitted.answers} held-out answers"
    sheet = Sheet("fitted", "answers", "mean", "right", title=title)
    for one in fitted.bins:
        span = f"{one.low:.1f} to {one.high:.1f}"
        sheet.add_row(span, str(one.answers), f"{one.confidence:.2f}", f"{one.right:.2f}")
    out = console()
    out.print(sheet)
    text = f"Expected calibration error {fitted.ece:.3f}, Brier score {fitted.brier:.3f}"
    if shipped:
        gain = found["brier_gain"]
        text += f"; as it is {shipped.ece:.3f} and {shipped.brier:.3f}"
        if gain:
            low, high = gain["interval"]
            text += f" (Brier {-gain['difference']:+.3f}, {-high:+.3f} to {-low:+.3f})"
    out.print(f"{text}.")


def _settings(ensemble: EnsembleSettings, trial: Trial, learnt: Learnt) -> dict[str, str]:
    """The settings of a trial as people read them, by what is searched for."""
    names = labels(ensemble.members)
    weights = zip(names, learnt.weights, strict=True)
    return {
        "weights": "\n".join(f"{name} {weight:g}" for name, weight in weights),
        "top_k": str(trial.top_k),
        "score_floor": f"{trial.score_floor:g}",
        "evidence_floor": f"{trial.evidence_floor:g}",
        "confidence_floor": f"{trial.confidence_floor:g}",
    }


def _changed(base: Trial, trials: Sequence[Trial], *, asked: bool) -> dict[str, int]:
    """In how many searches each setting came out otherwise than it is."""
    fields = {"weights": "pull", "confidence_floor": "confidence_floor"}
    if asked:
        fields |= {name: name for name in ("top_k", "score_floor", "evidence_floor")}
    counts = Counter(
        name
        for trial in trials
        for name, field in fields.items()
        if getattr(trial, field) != getattr(base, field)
    )
    return {name: counts[name] for name in fields}


def _confidence(held: Held, *, asked: bool) -> dict[str, Any]:
    """How far the confidence of held-out answers can be believed."""
    right = held.right[held.given]
    found: dict[str, Any] = {"fitted": reliability(held.fitted[held.given], right)}
    if asked:  # the shipped coefficients are of features that recorded answers lack
        found["as_it_is"] = reliability(held.shipped[held.given], right)
        found["brier_gain"] = plain(held.brier) if held.brier else None
    return found


def _figures(rules: Rules, parts: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(value) for name, value in figures(rules, parts.mean(axis=0)).items()}
