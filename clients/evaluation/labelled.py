"""What votes come to, and what it scores: labelled questions under any weights and score floor.

The vote, the grounding and the features are the gateway's own. What a vote needs of a model has
been recorded (`cases.py`); everything else is worked out here. Pure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from clients.evaluation.cases import Case, Place
from clients.evaluation.dataset import Table
from clients.evaluation.scoring import Rules, grade, nearly_right
from gateway.ensemble.confidence import FEATURES, NEUTRAL, features_of_votes, standing
from gateway.ensemble.vote import Ballot, NoVotes, References, Strategy, agreed_references, vote
from gateway.ensemble.whole import asks_of_whole
from gateway.schema.ensemble import Vote

__all__ = ["Decision", "Given", "Labelled", "decide"]

BLANK = "is_blank"
NOT_SHOWN = "The passages with its value are under the score floor."

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Decision(Struct, frozen=True, kw_only=True):
    """What the vote on one question comes to. No `value`: declined."""

    value: str | None
    references: list[str]
    features: dict[str, float]


class Given(Struct, frozen=True, kw_only=True):
    """Every question's decision, scored as if no floor declined it."""

    parts: Array  # (questions, parts)
    gives: Flags  # whether there is a value
    right: Flags  # whether it is right
    features: Array  # (questions, features)
    standing: Array  # what is held against the evidence floor


class Labelled:
    """Questions with their answers, and cases of each question for every number of passages."""

    def __init__(
        self,
        truth: Table,
        rules: Rules,
        cases: Mapping[int, Sequence[Case]],
        strategy: str,
        references: References = "winners",
        missing_names: float = 0.0,
        missing_kind: float = 0.0,
    ) -> None:
        self.rules = rules
        self.features = FEATURES
        self.top_ks = tuple(cases)
        self._truth = truth
        self._cases = cases
        self._strategy = strategy
        self._references: References = references
        self._missing = missing_names, missing_kind
        # No one sentence speaks of a whole document, so none is held against the floor.
        asked = truth.columns.get("question", [""] * len(truth))
        self._whole = np.array([asks_of_whole(question) for question in asked])
        self._given: dict[tuple[object, ...], Given] = {}
        self._members: dict[int, Flags] = {}
        self.declined = self._grade([None] * len(truth), [()] * len(truth))[0]

    def __len__(self) -> int:
        return len(self._truth)

    def given(self, top_k: int, weights: tuple[float, ...], score_floor: float) -> Given:
        """The decisions with these weights, of passages that score so much at least."""
        key = (top_k, weights, score_floor)
        if key not in self._given:
            self._given[key] = self._decided(self._cases[top_k], weights, score_floor)
        return self._given[key]

    def members_right(self, top_k: int) -> Flags:
        """Whether each member's own vote is right: `(members, questions)`."""
        if top_k not in self._members:
            cases = self._cases[top_k]
            most = max((len(case.votes) for case in cases), default=0)
            rows: list[Flags] = []
            for at in range(most):
                votes = [case.votes[at] if at < len(case.votes) else None for case in cases]
                values = [
                    None if one is None or one.is_blank or one.error else one.answer_value
                    for one in votes
                ]
                rows.append(self._grade(values, [()] * len(votes))[1])
            self._members[top_k] = np.stack(rows) if rows else np.zeros((0, len(cases)), bool)
        return self._members[top_k]

    def worked_out(self, top_k: int, weights: tuple[float, ...]) -> float:
        """The share of the questions whose value is the one that the gateway itself gave."""
        same = [
            (decide(case, weights, self._strategy).value or "") == case.given
            for case in self._cases[top_k]
        ]
        return sum(same) / len(same)

    def _decided(
        self, cases: Sequence[Case], weights: tuple[float, ...], score_floor: float
    ) -> Given:
        found = [
            decide(case, weights, self._strategy, score_floor, self._references) for case in cases
        ]
        parts, right = self._grade([one.value for one in found], [one.references for one in found])
        return Given(
            parts=parts,
            gives=np.array([one.value is not None for one in found]),
            right=right,
            features=np.clip(
                [
                    [one.features.get(name, NEUTRAL.get(name, 0.0)) for name in FEATURES]
                    for one in found
                ],
                0,
                1,
            ),
            standing=np.where(
                self._whole, 1.0, [standing(one.features, *self._missing) for one in found]
            ),
        )

    def _grade(
        self, values: Sequence[str | None], references: Sequence[Sequence[str]]
    ) -> tuple[Array, Flags]:
        """Parts of answers to all questions, and whether each is right."""
        columns = self.rules.columns
        answers = Table(
            path=Path("the vote"),
            header=(columns.id, columns.value, columns.reference),
            columns={
                columns.id: self._truth.column(columns.id),
                columns.value: [BLANK if value is None else value for value in values],
                columns.reference: [
                    msgspec.json.encode(one).decode() if one else BLANK for one in references
                ],
            },
            lines=self._truth.lines,
        )
        grades = grade(self._truth, answers, self.rules)
        return grades.parts, nearly_right(grades)


def decide(
    case: Case,
    weights: Sequence[float],
    strategy: str,
    score_floor: float = -1.0,
    references: References = "winners",
) -> Decision:
    """The vote on one question; `strategy` as in an ensemble's file.

    A vote whose value stands only in passages under the score floor has no say: it would not have
    been given. A value that stands in no passage at all is declined, as the gateway does.
    """
    borne = [_documents(*each, score_floor) for each in zip(case.votes, case.places, strict=True)]
    votes = [
        replace(one, weight=weight, error=one.error or (NOT_SHOWN if mine is None else None))
        for one, weight, mine in zip(case.votes, weights, borne, strict=False)
    ]
    sure = strategy == "confidence"
    ballots = [_ballot(one, sure=sure) for one in votes]
    try:
        outcome = vote(ballots, "majority" if sure else cast("Strategy", strategy))
    except NoVotes:
        return _decision(case, votes, 0.0)
    if outcome.is_blank:
        return _decision(case, votes, outcome.agreement)
    order = [outcome.winner, *(at for at in outcome.group if at != outcome.winner)]
    winner = next((at for at in order if borne[at] or case.places[at] is None), None)
    if winner is None:
        return _decision(case, votes, 0.0)
    voters = [winner, *(at for at in order if at != winner)]
    if references == "union":
        voters += [at for at in range(len(votes)) if at not in voters]
    documents = agreed_references(
        [borne[at] or [] for at in voters], [votes[at].weight for at in voters], references
    )
    return _decision(case, votes, outcome.agreement, votes[winner].answer_value, documents)


def _decision(
    case: Case,
    votes: Sequence[Vote],
    agreement: float,
    value: str | None = None,
    documents: Sequence[str] = (),
) -> Decision:
    return Decision(
        value=value,
        references=list(documents),
        features={**case.seen, **features_of_votes(votes, agreement)},
    )


def _documents(one: Vote, places: Sequence[Place] | None, score_floor: float) -> list[str] | None:
    """Those that bear a vote out, as the gateway cites: of the passages that the member cites,
    else of the nearest one that has its value. None: no such passage would have been shown."""
    if places is None:
        return one.ref_id
    shown = [place for place in places if place.score >= score_floor]
    if places and not shown:
        return None
    own = [place for place in shown if place.own]
    return list(dict.fromkeys(place.document for place in own or shown[:1]))


def _ballot(one: Vote, *, sure: bool) -> Ballot:
    likelihood = 0.5 if one.likelihood is None else max(one.likelihood, 1e-6)
    return Ballot(
        value=one.answer_value,
        unit=one.answer_unit,
        is_blank=one.is_blank,
        weight=one.weight * (likelihood if sure else 1.0),
        failed=one.error is not None,
        grounded=one.grounded,
    )
