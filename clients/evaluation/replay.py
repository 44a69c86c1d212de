"""Votes over recorded answers, by the gateway's own code, and what they would have scored. Pure
but for reading the corpus."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct

from clients.evaluation import wattbot
from clients.evaluation.agreement import agreement_weights
from clients.evaluation.dataset import DatasetError, Table
from clients.evaluation.scoring import Rules
from gateway.ensemble.ground import ground
from gateway.ensemble.vote import (
    Ballot,
    NoVotes,
    References,
    Strategy,
    agreed_references,
    vote,
)

__all__ = [
    "DEFAULT",
    "DEFAULT_GROUNDED",
    "NOT_APPLICABLE",
    "STRATEGIES",
    "Answer",
    "Corpus",
    "Recording",
    "decide",
    "read_recording",
    "weights_of",
]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
DEFAULT: Strategy = "weighted"  # without a corpus, and else:
DEFAULT_GROUNDED: Strategy = "grounded"
NOT_APPLICABLE = {
    "confidence": "recorded answers carry no token probabilities",
    "consensus": "it needs an embedder",
    "judge": "it needs a model that reads the candidates",
}
BLANK = "is_blank"
UNIT = "answer_unit"
ALSO = (UNIT, "question", "answer", "ref_url", "supporting_materials", "explanation")


class Recording(Struct, frozen=True, kw_only=True):
    """What several members said to the same questions: `ballots[question][member]`."""

    names: tuple[str, ...]
    ballots: list[list[Ballot]]
    cited: list[list[list[str]]]  # document ids
    tables: tuple[Table, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """What the vote answers to one question. `winner` is a member's place; -1: nobody."""

    value: str
    references: list[str]
    winner: int
    agreement: float
    explanation: str


class Corpus:
    """Documents as text files, pages separated by form feeds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = {path.stem.lower(): path for path in sorted(folder.glob("*.txt"))}
        if not self._paths:
            raise DatasetError(f"--corpus: there are no .txt files in {folder}.")
        self._stands = functools.cache(self._looked_up)

    @property
    def ids(self) -> frozenset[str]:
        """The documents' ids."""
        return frozenset(self._paths)

    def stands(self, value: str, unit: str, documents: Sequence[str]) -> bool | None:
        """Whether a page of a cited document has the value; None if there is none of them."""
        known = [document for document in documents if document in self._paths]
        if not known:
            return None
        return any(self._stands(value, unit, document) for document in known)

    def _looked_up(self, value: str, unit: str, document: str) -> bool:
        return any(ground(value, page, unit) is not None for page in self._pages(document))

    @functools.cache  # noqa: B019 (it lives as long as the command)
    def _pages(self, document: str) -> list[str]:
        return self._paths[document].read_text(encoding="utf-8", errors="replace").split("\f")


def read_recording(
    members: Sequence[tuple[str, Table]], rules: Rules, corpus: Corpus | None = None
) -> Recording:
    """The members' ballots; their tables have the same questions in the same order."""
    ballots: list[list[Ballot]] = [[] for _ in members[0][1].lines]
    cited: list[list[list[str]]] = [[] for _ in ballots]
    for _, table in members:
        values = table.column(rules.columns.value)
        units, sources = table.columns.get(UNIT), table.columns.get(rules.columns.reference)
        for at, value in enumerate(values):
            unit = units[at].strip() if units else ""
            unit = "" if wattbot.is_blank(unit) else unit
            documents = sorted(wattbot.references(sources[at]) - {BLANK}) if sources else []
            blank = wattbot.is_blank(value)
            stands = corpus.stands(value, unit, documents) if corpus and not blank else None
            ballots[at].append(Ballot(value=value, unit=unit, is_blank=blank, grounded=stands))
            cited[at].append(documents)
    return Recording(
        names=tuple(name for name, _ in members),
        ballots=ballots,
        cited=cited,
        tables=tuple(table for _, table in members),
    )


def weights_of(
    recording: Recording, strategy: Strategy, given: Sequence[float] | None = None
) -> list[float]:
    """The weights a strategy votes with: those given, else learnt from agreement, else one each."""
    if given is not None:
        return list(given)
    if strategy in ("weighted", "grounded"):
        return agreement_weights(recording.ballots)
    return [1.0] * len(recording.names)


def decide(
    recording: Recording,
    strategy: Strategy,
    weights: Sequence[Sequence[float]],
    references: References = "winners",
) -> list[Answer]:
    """An answer for each question; `weights[question][member]`."""
    found: list[Answer] = []
    for at, (ballots, mine) in enumerate(zip(recording.ballots, weights, strict=True)):
        weighed = [
            msgspec.structs.replace(ballot, weight=weight)
            for ballot, weight in zip(ballots, mine, strict=True)
        ]
        try:
            outcome = vote(weighed, strategy)
        except NoVotes:
            found.append(_nothing("no member answered"))
            continue
        if outcome.is_blank:
            found.append(_nothing(outcome.explanation, outcome.winner, outcome.agreement))
            continue
        winners = [outcome.winner, *(one for one in outcome.group if one != outcome.winner)]
        documents = agreed_references(
            [recording.cited[at][one] for one in winners],
            [weighed[one].weight for one in winners],
            references,
        )
        found.append(
            Answer(
                value=ballots[outcome.winner].value,
                references=documents,
                winner=outcome.winner,
                agreement=outcome.agreement,
                explanation=outcome.explanation,
            )
        )
    return found


def _nothing(explanation: str, winner: int = -1, agreement: float = 0.0) -> Answer:
    return Answer(
        value=BLANK,
        references=[],
        winner=winner,
        agreement=agreement,
        explanation=explanation,
    )
