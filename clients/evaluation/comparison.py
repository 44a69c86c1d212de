"""What an ensemble is worth: strategies beside members, with paired intervals. Pure.

A member that is best in hindsight is no fair rival alone: it was picked by the very questions it is
measured on. So beside it stand the member that would have been picked by other questions, and one
picked blindly; and above all, the oracle, which always follows a member that is right.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from clients.evaluation.bootstrap import Difference, difference, interval, resampled_means
from clients.evaluation.scoring import Grades, Rules, figures

__all__ = ["FOLDS", "Comparison", "Standing", "beforehand", "compare", "folds_of", "oracle"]

FOLDS = 5
SHUFFLES = 20  # of folds, so that no lucky cut decides

Array = NDArray[np.float64]


class Standing(Struct, frozen=True, kw_only=True):
    """A run's figures, and how it stands against the best member and the one picked beforehand.

    `folds` are its differences from the best member on each of five parts of the questions.
    """

    figures: dict[str, float]
    interval: tuple[float, float]
    best_member: Difference
    beforehand: Difference
    folds: list[float]


class Comparison(Struct, frozen=True, kw_only=True):
    """Runs by name, each in its place."""

    best: str
    standings: dict[str, Standing]


def folds_of(questions: int, folds: int = FOLDS, seed: int = 0) -> list[NDArray[np.intp]]:
    """The questions' places, cut at random into parts of nearly one size."""
    order = np.random.default_rng(seed).permutation(questions)
    return [np.sort(part) for part in np.array_split(order, min(folds, questions))]


def oracle(rules: Rules, members: Sequence[Grades]) -> Array:
    """Each question's parts from the member that scores best on it."""
    stacked = np.stack([grades.parts for grades in members])
    # A question's worth: the value, or the blank where one is due; then the reference.
    worth = stacked[:, :, 0] + 0.0
    if rules.metric == "wattbot":
        right = np.stack([grades.right for grades in members])
        worth = right + 0.5 * stacked[:, :, 1]
    return stacked[worth.argmax(axis=0), np.arange(stacked.shape[1])]


def beforehand(rules: Rules, members: Sequence[Grades]) -> Array:
    """Parts of the member that scores best on the other folds, averaged over many cuts."""
    stacked = np.stack([grades.parts for grades in members])
    total = np.zeros(stacked.shape[1:])
    for seed in range(SHUFFLES):
        for fold in folds_of(stacked.shape[1], seed=seed):
            others = np.delete(stacked, fold, axis=1)
            if not others.shape[1]:
                others = stacked
            chosen = figures(rules, others.mean(axis=1))["overall"].argmax()
            total[fold] += stacked[chosen, fold]
    return total / SHUFFLES


def compare(
    rules: Rules,
    members: Mapping[str, Grades],
    runs: Mapping[str, Array],
    picked: Array | None = None,
    rounds: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Members, `runs` (parts by name), and beside them `beforehand`, `random member` and `oracle`.

    `picked`: parts of the member picked by other questions, where those are known.
    """
    every: dict[str, Array] = {name: grades.parts for name, grades in members.items()}
    graded = list(members.values())
    every["beforehand"] = beforehand(rules, graded) if picked is None else picked
    every["random member"] = np.mean([grades.parts for grades in graded], axis=0)
    every["oracle"] = oracle(rules, graded)
    every |= runs
    names = list(every)
    parts = np.stack([every[name] for name in names])  # (runs, questions, parts)
    observed = figures(rules, parts.mean(axis=1))
    overall = observed["overall"]
    best = int(overall[: len(members)].argmax())
    before = names.index("beforehand")
    flat = parts.transpose(1, 0, 2).reshape(parts.shape[1], -1)
    means = resampled_means(flat, max(rounds, 1), seed).reshape(-1, len(names), parts.shape[2])
    samples = figures(rules, means)["overall"]
    folds = [figures(rules, parts[:, fold].mean(axis=1))["overall"] for fold in folds_of(len(flat))]
    standings: dict[str, Standing] = {}
    for at, name in enumerate(names):
        sure = interval(samples[:, at])
        standings[name] = Standing(
            figures={figure: float(values[at]) for figure, values in observed.items()},
            interval=(sure.low, sure.high),
            best_member=difference(
                float(overall[at] - overall[best]), samples[:, at] - samples[:, best]
            ),
            beforehand=difference(
                float(overall[at] - overall[before]), samples[:, at] - samples[:, before]
            ),
            folds=[float(fold[at] - fold[best]) for fold in folds],
        )
    return Comparison(best=names[best], standings=standings)
