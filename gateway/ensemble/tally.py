"""From the members' replies to votes, and from the votes to a finding. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import Citation, Cited, cite, compose, evidence_text
from gateway.ensemble.evidence import Sentence, echoes
from gateway.ensemble.fanout import Reply
from gateway.ensemble.ground import ground
from gateway.ensemble.prompt import Passage
from gateway.ensemble.settings import EnsembleSettings, labels
from gateway.ensemble.vote import Ballot, NoVotes, Outcome, vote
from gateway.schema.ensemble import Vote

__all__ = ["Counted", "Finding", "Poll", "conclude", "count", "speaks"]


class Poll(Struct, frozen=True, kw_only=True):
    """What is voted on. `modes` says which members are extractive."""

    settings: EnsembleSettings
    question: str
    passages: tuple[Passage, ...]
    ranked: list[Sentence]
    modes: tuple[bool, ...]


class Counted(Struct, frozen=True, kw_only=True):
    """A member's reply as a vote, with the passages that bear it out, its own first."""

    place: int
    vote: Vote
    answer: MemberAnswer | None
    citations: tuple[Citation, ...]


class Finding(Struct, frozen=True, kw_only=True):
    """What the vote came to. A declined one cites nothing."""

    cited: Cited
    answer: MemberAnswer | None  # the winner's; None: declined
    agreement: float
    explanation: str


def speaks(poll: Poll) -> bool:
    """Whether a sentence speaks to the question enough for the members to be asked at all."""
    floor = poll.settings.evidence_floor
    return any(sentence.score >= floor for sentence in poll.ranked)


def count(poll: Poll, reply: Reply) -> Counted:
    """One reply as a vote. An extracted value that only repeats the question is no answer."""
    member = poll.settings.members[reply.place]
    answer = reply.answer
    citations: tuple[Citation, ...] = ()
    said, blank = "", True
    if answer is not None:
        blank = answer.is_blank or not answer.answer_value
        said = answer.answer
        if poll.modes[reply.place]:
            blank = blank or echoes(answer.answer_value, poll.question)
        if not blank:
            citations = cite(answer, poll.passages, poll.ranked)
            if poll.modes[reply.place] and citations:
                said = evidence_text(citations[0])
    own = answer.passages if answer else ()
    documents = {passage.n: passage.hit.document_id for passage in poll.passages}
    vote = Vote(
        model=labels(poll.settings.members)[reply.place],
        answer=said,
        answer_value=answer.answer_value if answer else "",
        answer_unit=answer.answer_unit if answer else "",
        is_blank=blank and answer is not None,
        ref_id=list(dict.fromkeys(documents[n] for n in own)),
        passages=list(own),
        weight=member.weight,
        grounded=answer is not None and not blank and _stands(answer, poll.passages),
        latency_ms=round(reply.latency_ms, 1),
        error=str(reply.error) if reply.error else None,
    )
    return Counted(place=reply.place, vote=vote, answer=answer, citations=citations)


def conclude(poll: Poll, counted: Sequence[Counted]) -> Finding:
    """The winner's answer with its citations, or why there is none. `counted` in members' order."""
    if not poll.passages:
        return _declined(poll, "No passage is near enough to the question.")
    if not speaks(poll):
        best = max((sentence.score for sentence in poll.ranked), default=0.0)
        needed = poll.settings.evidence_floor
        reason = f"No sentence speaks to the question (the best {best:.3f}, needed {needed:g})."
        return _declined(poll, reason)
    ballots = [
        Ballot(
            value=one.vote.answer_value,
            unit=one.vote.answer_unit,
            is_blank=one.vote.is_blank,
            weight=one.vote.weight,
            failed=one.vote.error is not None,
            grounded=one.vote.grounded,
        )
        for one in counted
    ]
    try:
        outcome = vote(ballots, poll.settings.strategy)
    except NoVotes:
        return _declined(poll, "Every member whose vote counts failed.")
    winner = counted[outcome.winner]
    if outcome.is_blank or winner.answer is None:
        return _declined(poll, outcome.explanation, outcome)
    if not winner.citations:
        reason = f"{outcome.explanation} Its value stands in no passage about the question."
        return _declined(poll, reason, outcome)
    cited = compose(winner.answer, winner.citations, extractive=poll.modes[winner.place])
    return Finding(
        cited=cited,
        answer=winner.answer,
        agreement=outcome.agreement,
        explanation=outcome.explanation,
    )


def _stands(answer: MemberAnswer, passages: Sequence[Passage]) -> bool:
    """Whether the value is in a passage that its own member cites."""
    own = [passage.hit.text for passage in passages if passage.n in answer.passages]
    return any(ground(answer.answer_value, text, answer.answer_unit) for text in own)


def _declined(poll: Poll, reason: str, outcome: Outcome | None = None) -> Finding:
    return Finding(
        cited=Cited(poll.settings.decline, [], []),
        answer=None,
        agreement=outcome.agreement if outcome and outcome.is_blank else 0.0,
        explanation=reason,
    )
