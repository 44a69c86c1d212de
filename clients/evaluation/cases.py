"""What a vote is tried on, question by question: answers of an ensemble that were asked for with
nothing declined, or recorded answers of several models."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.experiment import Record, read_records
from clients.evaluation.replay import Recording
from clients.evaluation.runner import Job, run
from clients.evaluation.settings import ExperimentSettings, Overrides
from gateway.ensemble.ground import ground
from gateway.ensemble.vote import normalise
from gateway.schema.ensemble import EnsembleReport, Source, Vote

__all__ = ["OPEN", "Case", "Place", "ask_all", "case_of", "cases_of", "recorded_cases"]

# The ensemble declines nothing by itself and waits for every member: what a floor or a weight
# would have changed can then be worked out from one answer.
OPEN = Overrides(early_stop=False, score_floor=-1.0, evidence_floor=-1.0, confidence_floor=0.0)
SEED = 0


class Place(Struct, frozen=True):
    """A passage that a vote's value stands in, and whether it is one that the vote cites."""

    document: str
    score: float
    own: bool


class Case(Struct, frozen=True, kw_only=True):
    """One question's votes. `places[vote]` are the passages that its value stands in, the nearest
    first; None: not known, so the vote is taken at its word.

    `seen` are the features that do not depend on the votes.
    """

    votes: tuple[Vote, ...]
    places: tuple[tuple[Place, ...] | None, ...]
    seen: dict[str, float]
    given: str | None = None  # the value that the gateway itself gave; None: not known


def ask_all(
    job: Job, top_k: int, advance: Callable[[int], None], *, fresh: bool = False
) -> list[Case]:
    """Ask the ensemble every question with `top_k` passages; what was asked before is kept.

    Raises ClientError, also where questions failed: the same call asks them again.
    """
    settings = ExperimentSettings(
        model=job.settings.model,
        concurrency=job.settings.concurrency,
        request={"seed": SEED},
        ensemble=msgspec.structs.replace(
            OPEN, top_k=top_k, vector_store_ids=(job.settings.ensemble or OPEN).vector_store_ids
        ),
    )
    summary = run(msgspec.structs.replace(job, settings=settings), advance, fresh=fresh)
    known = {record.id: record for record in read_records(job.folder)}
    failed = [record.error for record in known.values() if record.error is not None]
    if summary["errors"]:
        raise ClientError(
            f"{summary['errors']} of {summary['questions']} questions failed: {failed[0]} "
            f"The same command asks them again ({job.folder})."
        )
    return cases_of([known[id_.strip()] for id_ in job.questions.column("id")])


def cases_of(records: Sequence[Record]) -> list[Case]:
    """Records of an ensemble as cases. Raises ClientError where one is none."""
    found: list[Case] = []
    for record in records:
        try:
            found.append(case_of(msgspec.convert(record.ensemble, EnsembleReport)))
        except msgspec.ValidationError as error:
            raise ClientError(
                f"'{record.id}': {record.model} did not answer as an ensemble ({error})."
            ) from error
    return found


def case_of(report: EnsembleReport) -> Case:
    """What a report says of its votes."""
    return Case(
        votes=tuple(report.votes),
        places=tuple(_places(vote, report.sources) for vote in report.votes),
        seen=report.features,
        given="" if report.is_blank else report.answer_value,
    )


def recorded_cases(recording: Recording) -> list[Case]:
    """Recorded answers as cases: no passages, and no features but the votes' own."""
    return [
        Case(
            votes=tuple(
                Vote(
                    model=name,
                    answer="",
                    answer_value=ballot.value,
                    answer_unit=ballot.unit,
                    is_blank=ballot.is_blank,
                    ref_id=cited,
                    passages=[],
                    weight=1.0,
                    grounded=bool(ballot.grounded),
                    latency_ms=0.0,
                )
                for name, ballot, cited in zip(recording.names, ballots, documents, strict=True)
            ),
            places=(None,) * len(ballots),
            seen={},
        )
        for ballots, documents in zip(recording.ballots, recording.cited, strict=True)
    ]


def _places(vote: Vote, sources: Sequence[Source]) -> tuple[Place, ...]:
    if vote.is_blank or vote.error is not None:
        return ()
    if normalise(vote.answer_value).text in ("yes", "no"):
        has = [source for source in sources if source.n in vote.passages]  # it stands nowhere
    else:
        has = [s for s in sources if ground(vote.answer_value, s.text, vote.answer_unit)]
    has.sort(key=lambda source: -source.score)
    return tuple(Place(one.document_id, one.score, one.n in vote.passages) for one in has)
