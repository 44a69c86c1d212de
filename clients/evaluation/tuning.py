"""Settings of an ensemble that do better on labelled questions, and whether that holds on others.

What is searched for is a short list of changes, not the best of all combinations: of all single
changes the one is taken whose gain stands out most over the folds it was not learnt on, then the
next, until none does. All of that is repeated without each outer fold, and only answers to
questions of that fold are counted: so the gain that is reported was never learnt on. Pure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from clients.evaluation import calibration
from clients.evaluation.bootstrap import Difference, difference, resampled_means
from clients.evaluation.comparison import folds_of
from clients.evaluation.labelled import Given, Labelled
from clients.evaluation.scoring import figures

__all__ = ["Held", "Learnt", "Trial", "Tuner", "weights_by_labels"]

PULLS = (0.25, 0.5, 1.0)
FLOORS = tuple(round(0.05 * step, 2) for step in range(20))
SCORE_FLOORS = FLOORS[::2]
EVIDENCE_FLOORS = tuple(round(0.02 * step, 2) for step in range(46))
LEAST_GAIN = 0.002  # less is not worth a line in a file
MAX_CHANGES = 6
INNER = 5  # folds of a search
SHUFFLES = 3  # of outer folds, so that no lucky cut decides
PRIOR = 5.0  # questions' worth of belief that a member is like the others
GRAIN = 0.05  # of weights
LEAST_EACH = 5  # right and wrong answers each: of fewer no calibration can be shown to be truer
WRONG_VALUES = 10.0  # that a wrong vote may be for: even one of few right ones says something

Array = NDArray[np.float64]
Places = NDArray[np.intp]


class Trial(Struct, frozen=True, kw_only=True):
    """One way to set the ensemble, before anything is learnt.

    `pull`: how far weights go from equal to what the labels say of each member; 0: as the file has
    them. `fitted`: whether the confidence is fitted, or is as the file has it.
    """

    top_k: int
    pull: float = 0.0
    score_floor: float = -1.0
    evidence_floor: float = -1.0
    fitted: bool = False
    confidence_floor: float = 0.0


class Learnt(Struct, frozen=True, kw_only=True):
    """What labels say, for a trial: the members' weights, and the confidence's coefficients."""

    weights: tuple[float, ...]
    calibration: dict[str, float]


class Held(Struct, frozen=True, kw_only=True):
    """What came out for questions that were held out. Arrays have a row for each question."""

    before: Array  # parts with the file's own settings
    after: Array  # parts with what was learnt on the other questions
    gain: Difference  # of the objective
    folds: list[float]  # its gain on each fold of the first cut
    trials: list[Trial]  # what each search found
    # Of the first cut, floors aside: whether a value is given, and whether it is right.
    given: NDArray[np.bool_]
    right: NDArray[np.bool_]
    fitted: Array  # how likely it is right, fitted to other questions
    shipped: Array  # the same by the file's own coefficients
    # The mean square of the shipped one's error less the fitted one's; None: of too few answers.
    brier: Difference | None


class Tuner:
    """Searches. `base` is the file's own setting, `floors` whether there are floors to be tried.

    Those need passages; recorded answers have none, and only weights and confidence are tried.
    """

    def __init__(
        self, labelled: Labelled, base: Trial, shipped: Learnt, objective: str, *, floors: bool
    ) -> None:
        self.labelled = labelled
        self.base = base
        self.shipped = shipped
        self.objective = objective
        self.floors = floors
        self._learnt: dict[tuple[object, ...], dict[str, float]] = {}

    def learn(self, trial: Trial, rows: Places) -> Learnt:
        """What these questions teach."""
        weights = self.shipped.weights
        if trial.pull:
            weights = weights_by_labels(
                self.labelled.members_right(trial.top_k)[:, rows], trial.pull
            )
        if not trial.fitted:
            return Learnt(weights=weights, calibration=self.shipped.calibration)
        return Learnt(weights=weights, calibration=self.calibrate(trial, weights, rows))

    def calibrate(self, trial: Trial, weights: tuple[float, ...], rows: Places) -> dict[str, float]:
        """Coefficients from the values that were given to these questions, whatever the floors."""
        key = (trial.top_k, trial.score_floor, weights, rows.tobytes())
        if key not in self._learnt:
            given = self.labelled.given(trial.top_k, weights, trial.score_floor)
            some = rows[given.gives[rows]]
            self._learnt[key] = calibration.fit(
                given.features[some], given.right[some], self.labelled.features
            )
        return self._learnt[key]

    def outcome(self, trial: Trial, learnt: Learnt) -> Array:
        """Every question's parts."""
        given = self.labelled.given(trial.top_k, learnt.weights, trial.score_floor)
        stays = given.gives & (given.standing >= trial.evidence_floor)
        if trial.confidence_floor > 0:
            stays &= self._likely(given, learnt.calibration) >= trial.confidence_floor
        return np.where(stays[:, None], given.parts, self.labelled.declined)

    def search(self, rows: Places, seed: int = 0) -> Trial:
        """The trial that is best for these questions; the file's own where none stands out."""
        parts = folds_of(len(rows), INNER, seed)
        inner = [rows[part] for part in parts]
        current = self.base
        scored = self._left_out(self._crossed(current, rows, inner), parts)
        for _ in range(MAX_CHANGES):
            best: tuple[float, float, Trial, Array] | None = None
            for trial in self._changes(current):
                found = self._left_out(self._crossed(trial, rows, inner), parts)
                sure = _sure(found - scored)
                near = -_distance(current, trial)  # of equals, the one that changes least
                if sure > LEAST_GAIN and (best is None or (sure, near) > best[:2]):
                    best = (sure, near, trial, found)
            if best is None:
                break
            _, _, current, scored = best
        return current

    def hold_out(self, folds: int = 5, rounds: int = 2000, seed: int = 0) -> Held:
        """Search without each fold in turn, and see what it is worth there."""
        n = len(self.labelled)
        every = np.arange(n)
        before = self.outcome(self.base, self.shipped)
        after = np.zeros((SHUFFLES, *before.shape))
        trials: list[Trial] = []
        gives, right = np.zeros(n, bool), np.zeros(n, bool)
        fitted, shipped = np.zeros(n), np.zeros(n)
        for cut in range(SHUFFLES):
            for fold in folds_of(n, folds, seed + cut):
                rows = np.delete(every, fold)
                trial = self.search(rows, seed)
                learnt = self.learn(trial, rows)
                after[cut, fold] = self.outcome(trial, learnt)[fold]
                trials.append(trial)
                if cut == 0:
                    given = self.labelled.given(trial.top_k, learnt.weights, trial.score_floor)
                    coefficients = self.calibrate(trial, learnt.weights, rows)
                    gives[fold], right[fold] = given.gives[fold], given.right[fold]
                    fitted[fold] = self._likely(given, coefficients)[fold]
                    shipped[fold] = self._likely(given, self.shipped.calibration)[fold]
        mean = after.mean(axis=0)
        return Held(
            before=before,
            after=mean,
            gain=self._gain(before, mean, rounds, seed),
            folds=[
                self._figure(after[0, fold]) - self._figure(before[fold])
                for fold in folds_of(n, folds, seed)
            ],
            trials=trials,
            given=gives,
            right=right,
            fitted=fitted,
            shipped=shipped,
            brier=_brier(fitted[gives], shipped[gives], right[gives], rounds, seed),
        )

    def _changes(self, current: Trial) -> list[Trial]:
        """Trials that differ from the current one in one thing."""
        found = [replace(current, pull=pull) for pull in (0.0, *PULLS)]
        for floor in FLOORS:
            found.append(replace(current, fitted=True, confidence_floor=floor))
            if self.floors:
                found.append(replace(current, fitted=False, confidence_floor=floor))
        if self.floors:
            found += [replace(current, score_floor=floor) for floor in SCORE_FLOORS]
            found += [replace(current, evidence_floor=floor) for floor in EVIDENCE_FLOORS]
            found += [replace(current, top_k=top_k) for top_k in self.labelled.top_ks]
        return [trial for trial in found if trial != current]

    def _crossed(self, trial: Trial, rows: Places, inner: Sequence[Places]) -> Array:
        """Parts of `rows`, each learnt on the folds that it is not in."""
        if not trial.pull and not trial.fitted:
            return self.outcome(trial, self.shipped)[rows]
        found = np.zeros((len(self.labelled), self.labelled.declined.shape[1]))
        for fold in inner:
            learnt = self.learn(trial, np.setdiff1d(rows, fold))
            found[fold] = self.outcome(trial, learnt)[fold]
        return found[rows]

    def _left_out(self, parts: Array, folds: Sequence[Places]) -> Array:
        """The objective over all, and then without each fold in turn."""
        total = parts.sum(axis=0)
        means = [total / len(parts)]
        means += [(total - parts[fold].sum(axis=0)) / (len(parts) - len(fold)) for fold in folds]
        return figures(self.labelled.rules, np.stack(means))[self.objective]

    def _gain(self, before: Array, after: Array, rounds: int, seed: int) -> Difference:
        width = before.shape[1]
        means = resampled_means(np.hstack([before, after]), max(rounds, 1), seed)
        rules, name = self.labelled.rules, self.objective
        samples = figures(rules, means[:, width:])[name] - figures(rules, means[:, :width])[name]
        return difference(self._figure(after) - self._figure(before), samples)

    def _figure(self, parts: Array) -> float:
        return float(figures(self.labelled.rules, parts.mean(axis=0))[self.objective])

    def _likely(self, given: Given, coefficients: Mapping[str, float]) -> Array:
        return calibration.likely(given.features, coefficients, self.labelled.features)


def _sure(gains: Array) -> float:
    """A gain less its standard error, from the gain over all and without each fold (a jackknife).

    So what one fold brings counts for little, what all folds have in common for much.
    """
    gain, left = float(gains[0]), gains[1:]
    share = (len(left) - 1) / len(left)
    return gain - float(np.sqrt(share * ((left - left.mean()) ** 2).sum()))


def weights_by_labels(right: NDArray[np.bool_], pull: float) -> tuple[float, ...]:
    """Members' weights from `(members, questions)`: their log-odds of being right.

    They are 1 on average. `pull` says how far they go there from equal.
    """
    total = right.mean() if right.size else 0.5
    share = (right.sum(axis=1) + PRIOR * total) / (right.shape[1] + PRIOR)
    share = np.clip(share, 0.01, 0.99)
    odds: Array = np.log(share / (1 - share) * WRONG_VALUES).clip(GRAIN)
    weights: Array = 1 + pull * (odds / odds.mean() - 1)
    return tuple(round(max(GRAIN, round(weight / GRAIN) * GRAIN), 2) for weight in weights.tolist())


def _distance(one: Trial, other: Trial) -> float:
    return (
        abs(one.pull - other.pull)
        + abs(one.score_floor - other.score_floor)
        + abs(one.evidence_floor - other.evidence_floor)
        + abs(one.confidence_floor - other.confidence_floor)
        + (one.fitted != other.fitted)
        + 0.1 * abs(one.top_k - other.top_k)
    )


def _brier(
    fitted: Array, shipped: Array, right: NDArray[np.bool_], rounds: int, seed: int
) -> Difference | None:
    if min(right.sum(), (~right).sum()) < LEAST_EACH:
        return None
    less = (shipped - right) ** 2 - (fitted - right) ** 2
    samples = resampled_means(less[:, None], max(rounds, 1), seed)[:, 0]
    return difference(float(less.mean()), samples)
