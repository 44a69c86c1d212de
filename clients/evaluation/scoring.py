"""Scores of a whole submission: parts of each question's score, figures made of their means.

`grade` turns two tables into an array of parts, one row a question. Every figure (overall, value,
…) is a function of the parts' means, so the same function serves the score, its breakdown by
evidence and each resample of the bootstrap.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from clients.evaluation import squad, wattbot
from clients.evaluation.bootstrap import interval, resampled_means
from clients.evaluation.dataset import DatasetError, Pairing, Table, pair
from clients.evaluation.ranking import discounted_gain, recall, reciprocal_rank

__all__ = [
    "Columns",
    "Grades",
    "Rules",
    "Weights",
    "breakdown",
    "figures",
    "grade",
    "nearly_right",
    "report",
]

EVIDENCE = ("Quote", "Table", "Figure", "Math", "is_NA")
ROUNDS = 2000
YES = ("1", "1.0", "true", "yes")
NO = ("0", "0.0", "false", "no", "")
MAX_NOTES = 5
RIGHT_F1 = 0.5
DECIMALS = 12
RANKS = 10  # the first so many references count
RANKINGS = (discounted_gain, recall, reciprocal_rank)

Array = NDArray[np.float64]
Figures = dict[str, Array]


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """What the parts of WattBot's overall score count. They need not sum to one."""

    value: float = 0.75
    reference: float = 0.15
    na: float = 0.10


class Columns(Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the columns, of both files."""

    id: str = "id"
    value: str = "answer_value"
    reference: str = "ref_id"
    answers: str = "answers"  # SQuAD's list of answers; where the truth has none, `value` counts

    @property
    def scored(self) -> tuple[str, str]:
        """Those that WattBot's scoring holds against each other."""
        return self.value, self.reference


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to score."""

    metric: Literal["wattbot", "squad", "retrieval"] = "wattbot"
    weights: Weights = Weights()
    columns: Columns = Columns()
    evidence: tuple[str, ...] = EVIDENCE  # columns of the truth with 0 or 1


class Grades(Struct, frozen=True, kw_only=True):
    """Each question's parts, `(questions, parts)`, in the order of the pairing."""

    rules: Rules
    parts: Array
    pairing: Pairing
    right: NDArray[np.bool_]  # whether the question as a whole counts as right
    blank: NDArray[np.bool_]  # whether the run gave no value
    evidence: dict[str, NDArray[np.bool_]]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.parts)


def grade(truth: Table, submission: Table, rules: Rules, *, partial: bool = False) -> Grades:
    """Score each question. Raises DatasetError."""
    pairing = pair(truth, submission, rules.columns.id, partial=partial)
    one = {"wattbot": _wattbot, "squad": _squad, "retrieval": _retrieval}[rules.metric]
    compared = rules.columns.scored if rules.metric == "wattbot" else ()
    if broken := _oddities(truth, compared):
        raise DatasetError(broken[0])
    parts, right, blank = one(truth, submission, pairing, rules.columns)
    rows = [row for row, _ in pairing.rows]
    evidence = {name: _flags(truth, name)[rows] for name in rules.evidence if name in truth.columns}
    notes = _oddities(submission, compared) + _broken_flags(submission, rules.evidence)
    if len(notes) > MAX_NOTES:
        notes[MAX_NOTES:] = [f"{submission.path}: {len(notes) - MAX_NOTES} more like these."]
    return Grades(
        rules=rules,
        parts=parts,
        pairing=pairing,
        right=right,
        blank=blank,
        evidence=evidence,
        warnings=tuple(notes),
    )


def nearly_right(grades: Grades) -> NDArray[np.bool_]:
    """Whether a person would take each value for right: by SQuAD's measure one that shares half of
    its words with an answer, too."""
    return grades.parts[:, 0] >= RIGHT_F1 if grades.rules.metric == "squad" else grades.right


def figures(rules: Rules, means: Array) -> Figures:
    """Figures from the parts' means: `(…, parts)` gives arrays of shape `(…)`."""
    if rules.metric == "wattbot":
        return _wattbot_figures(means, rules.weights)
    return _squad_figures(means) if rules.metric == "squad" else _retrieval_figures(means)


def breakdown(grades: Grades) -> dict[str, dict[str, float]]:
    """Figures of the questions of each type of evidence; a question may be of several."""
    found: dict[str, dict[str, float]] = {}
    for name, flags in grades.evidence.items():
        if flags.any():
            chosen = figures(grades.rules, grades.parts[flags].mean(axis=0))
            found[name] = {"questions": int(flags.sum()), **_floats(chosen)}
    return found


def report(grades: Grades, rounds: int = ROUNDS, seed: int = 0) -> dict[str, object]:
    """All that is known of a run's score, as `--json` prints it."""
    rules, pairing = grades.rules, grades.pairing
    samples = figures(rules, resampled_means(grades.parts, rounds, seed)) if rounds else {}
    return {
        **_floats(figures(rules, grades.parts.mean(axis=0))),
        "questions": len(grades),
        "partial": bool(pairing.missing or pairing.extra),
        "missing": pairing.missing,
        "extra": pairing.extra,
        "intervals": {name: interval(values) for name, values in samples.items()},
        "by_evidence": breakdown(grades),
        "metric": rules.metric,
        "weights": msgspec.to_builtins(rules.weights),
    }


def _wattbot(
    truth: Table, submission: Table, pairing: Pairing, columns: Columns
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts: value, reference, blank as it should be, should be blank."""
    rows, others = zip(*pairing.rows, strict=True)
    wanted, sources = (_picked(truth.column(name), rows) for name in columns.scored)
    given, cited = (_picked(submission.column(name), others) for name in columns.scored)
    none, blank = (np.array([*map(wattbot.is_blank, values)]) for values in (wanted, given))
    value = np.array([*map(wattbot.value_right, wanted, given)])
    reference = [*map(wattbot.overlap, sources, cited)]
    parts = np.stack([value, reference, none & blank, none], axis=1).astype(float)
    return parts, np.where(none, blank, value), blank


def _picked(column: Sequence[str], rows: Sequence[int]) -> list[str]:
    return [column[row] for row in rows]


def _wattbot_figures(means: Array, weights: Weights) -> Figures:
    value, reference, hit, none = np.moveaxis(means, -1, 0)
    na_recall = np.divide(hit, none, out=np.ones_like(none), where=none > 0)
    overall = weights.value * value + weights.reference * reference + weights.na * na_recall
    return {"overall": overall, "value": value, "reference": reference, "na_recall": na_recall}


def _squad(
    truth: Table, submission: Table, pairing: Pairing, columns: Columns
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts: token F1, exact match; should be blank, blank as it should be; answerable and
    answered, F1 where answerable."""
    given = submission.column(columns.value)
    listed = columns.answers in truth.columns
    wanted = truth.column(columns.answers if listed else columns.value)
    parts = np.empty((len(pairing.rows), 6))
    blank = np.empty(len(parts), dtype=bool)
    for at, (row, other) in enumerate(pairing.rows):
        answers = _answers(wanted[row], truth.at(row, columns.answers)) if listed else [wanted[row]]
        answers = [answer for answer in answers if not wattbot.is_blank(answer)]
        value = "" if wattbot.is_blank(given[other]) else given[other]
        blank[at] = not squad.tokens(value)
        f1, exact = squad.token_f1(answers, value), squad.exact_match(answers, value)
        some = bool(answers)
        answered = some and not blank[at]
        parts[at] = (f1, exact, not some, not some and blank[at], answered, f1 if some else 0.0)
    return parts, parts[:, 1] > 0, blank


def _squad_figures(means: Array) -> Figures:
    f1, exact, none, hit, answered, f1_some = np.moveaxis(means, -1, 0)
    some = 1 - none
    na_recall = np.divide(hit, none, out=np.ones_like(none), where=none > 0)
    coverage = np.divide(answered, some, out=np.ones_like(some), where=some > 0)
    return {
        "overall": f1,
        "f1": f1,
        "exact_match": exact,
        "f1_answerable": np.divide(f1_some, some, out=np.ones_like(some), where=some > 0),
        "na_recall": na_recall,
        "answered": coverage,
        "balanced_accuracy": (na_recall + coverage) / 2,
    }


def _retrieval(
    truth: Table, submission: Table, pairing: Pairing, columns: Columns
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts: nDCG, recall and reciprocal rank of the references' order; whether there are any to
    find. Right is a question whose first reference is."""
    wanted, given = truth.column(columns.reference), submission.column(columns.reference)
    parts = np.zeros((len(pairing.rows), 4))
    blank = np.empty(len(parts), dtype=bool)
    for at, (row, other) in enumerate(pairing.rows):
        relevant = dict.fromkeys(_documents(wanted[row]), 1.0)
        ranked = _documents(given[other])
        blank[at] = not ranked
        if relevant:
            scores = (one(ranked, relevant, RANKS) for one in RANKINGS)
            parts[at] = (*scores, 1.0)
    return parts, parts[:, 2] == 1, blank


def _retrieval_figures(means: Array) -> Figures:
    """Over the questions that have references to find."""
    ndcg, found, rank, some = np.moveaxis(means, -1, 0)
    shares = [
        np.divide(part, some, out=np.zeros_like(some), where=some > 0)
        for part in (ndcg, found, rank)
    ]
    names = (f"ndcg@{RANKS}", f"recall@{RANKS}", f"mrr@{RANKS}")
    return {"overall": shares[0], **dict(zip(names, shares, strict=True))}


def _documents(text: str) -> list[str]:
    return [one for one in wattbot.ranked_references(text) if not wattbot.is_blank(one)]


def _answers(text: str, where: str) -> Sequence[str]:
    """The answers that will do: a JSON list, or one plain text."""
    if not text.strip().startswith("["):
        return [text]
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        raise DatasetError(f"{where}: it is no list of texts: {error}.") from error


def _oddities(table: Table, names: Sequence[str]) -> list[str]:
    """Fields that cannot be compared as they are meant, as messages. In a run they are wrong."""
    return [
        f"{table.at(row, name)}: {odd}: {texts[row].strip()[:40]!r}."
        for name in names
        for texts in (table.column(name),)
        for row, odd in wattbot.oddities(texts)
    ]


def _broken_flags(submission: Table, names: Sequence[str]) -> list[str]:
    """Messages about a run's own flags: the truth's count, but such a file is not what it seems."""
    found: list[str] = []
    for name in names:
        try:
            _flags(submission, name)
        except DatasetError as error:
            found.append(str(error))
    return found


def _flags(truth: Table, column: str) -> NDArray[np.bool_]:
    """A column of 0 and 1. Raises DatasetError."""
    texts = truth.columns.get(column, [])
    known: dict[str, bool] = {}
    for text in dict.fromkeys(texts):
        plain = text.strip().lower()
        if plain not in YES + NO:
            where = truth.at(texts.index(text), column)
            raise DatasetError(f"{where}: '{plain}' is neither 0 nor 1.")
        known[text] = plain in YES
    return np.array([known[text] for text in texts])


def _floats(found: Figures) -> dict[str, float]:
    # A share is a quotient of means: 1.0 and not 0.9999999999999999.
    return {name: round(float(value), DECIMALS) for name, value in found.items()}
