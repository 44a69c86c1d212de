"""From the members' replies to votes, and from the votes to a finding. Pure, but for a clock."""

import time
from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.ensemble import confidence
from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import Citation, Cited, cite, compose, evidence_text
from gateway.ensemble.complete import completed, whole_list
from gateway.ensemble.evidence import Sentence, echoes, names_held
from gateway.ensemble.fanout import Reply
from gateway.ensemble.ground import ground
from gateway.ensemble.json_vote import grounding, vote_on_json
from gateway.ensemble.kind import kind_held
from gateway.ensemble.prompt import Passage, best_of
from gateway.ensemble.settings import EnsembleSettings, labels
from gateway.ensemble.vote import Ballot, NoVotes, Outcome, agreed_references, vote
from gateway.schema.ensemble import AnyStrategy, Vote

__all__ = [
    "Counted",
    "Finding",
    "Poll",
    "ballots",
    "conclude",
    "count",
    "held_kind",
    "held_names",
    "speaks",
    "standing",
    "stopped",
    "withheld",
]


class Poll(Struct, frozen=True, kw_only=True):
    """What is voted on. `modes` says which members are extractive.

    With a `schema` (JSON) the votes are JSON of that schema.
    """

    settings: EnsembleSettings
    question: str
    passages: tuple[Passage, ...]
    ranked: list[Sentence]
    modes: tuple[bool, ...]
    schema: str | None = None
    whole: bool = False  # the passages are of a document that is asked about as a whole


class Counted(Struct, frozen=True, kw_only=True):
    """A member's reply as a vote, with the passages that bear it out, its own first."""

    place: int
    vote: Vote
    answer: MemberAnswer | None
    citations: tuple[Citation, ...]
    took_ms: float = 0.0  # of processor time, to read and ground it


class Finding(Struct, frozen=True, kw_only=True):
    """What the vote came to. A declined one cites nothing."""

    cited: Cited
    answer: MemberAnswer | None  # the winner's; None: declined
    agreement: float
    explanation: str
    refused: bool = False  # no answer in the schema that was asked for

    @property
    def rests_on(self) -> Collection[int]:
        """Numbers of the passages that its text cites; where it has no [n], as JSON, its own."""
        own = self.answer.passages if self.answer else ()
        return self.cited.numbers or own


def speaks(poll: Poll) -> bool:
    """Whether a sentence speaks to the question enough for the members to be asked at all."""
    if poll.whole:
        return bool(poll.ranked)  # no one sentence speaks of a whole document
    return bool(poll.ranked) and standing(poll) >= poll.settings.evidence_floor


def standing(poll: Poll) -> float:
    """The score of the best sentence, less what it loses for what it lacks; 0 without any."""
    if not poll.ranked:
        return 0.0
    settings = poll.settings
    seen = {
        "evidence": poll.ranked[0].score,
        "names": held_names(poll),
        "kind": float(held_kind(poll)),
    }
    return confidence.standing(seen, settings.missing_names, settings.missing_kind)


def held_names(poll: Poll) -> float:
    """The share of the question's names that the best sentence has, its headings included."""
    if not poll.ranked:
        return 0.0
    best = poll.ranked[0]
    hit = next(passage.hit for passage in poll.passages if passage.n == best.n)
    return names_held(poll.question, f"{best.text} {hit.heading} {hit.document_id}")


def held_kind(poll: Poll) -> bool:
    """Whether the best sentences can say what is asked for by its form."""
    settings = poll.settings
    shown = best_of(poll.ranked, settings.excerpt_sentences, settings.excerpt_margin)
    return kind_held(poll.question, [sentence.text for sentence in shown])


def count(poll: Poll, reply: Reply) -> Counted:
    """One reply as a vote. An extracted value that only repeats the question is no answer."""
    began = time.thread_time()
    counted = (_count if poll.schema is None else _count_json)(poll, reply)
    return replace(counted, took_ms=(time.thread_time() - began) * 1000)


def _count(poll: Poll, reply: Reply) -> Counted:
    member = poll.settings.members[reply.place]
    answer = reply.answer
    citations: tuple[Citation, ...] = ()
    said, blank = "", True
    if answer is not None:
        blank = answer.is_blank or not answer.answer_value
        said = answer.answer
        if poll.modes[reply.place]:
            answer, citations = _extracted(poll, answer)
            blank = blank or (not citations and echoes(answer.answer_value, poll.question))
            said = evidence_text(citations[0]) if citations else said
        elif not blank:
            citations = cite(answer, poll.passages, poll.ranked)
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
        likelihood=None if reply.likelihood is None else round(reply.likelihood, 4),
        error=str(reply.error) if reply.error else None,
    )
    return Counted(place=reply.place, vote=vote, answer=answer, citations=citations)


def _extracted(poll: Poll, answer: MemberAnswer) -> tuple[MemberAnswer, tuple[Citation, ...]]:
    """An extracted value with its citations: completed, and whole where it is of a list.

    One that only repeats the question has no citations.
    """
    settings, completing = poll.settings, poll.settings.whole_phrases
    if answer.is_blank or not answer.answer_value:
        return answer, ()
    shown = best_of(poll.ranked, settings.excerpt_sentences, settings.excerpt_margin)
    if completing and (listed := whole_list(answer, poll.passages, shown)):
        return listed
    if echoes(answer.answer_value, poll.question):
        return answer, ()
    citations = cite(answer, poll.passages, poll.ranked)
    if not completing or not citations:
        return answer, citations
    value = completed(citations[0], poll.ranked, poll.question, settings.max_value_words)
    if value is None:
        return answer, citations
    whole = replace(answer, answer_value=value)
    return whole, cite(whole, poll.passages, poll.ranked) or citations


def stopped(poll: Poll, place: int) -> Vote:
    """The vote of a member that was not asked or not waited for."""
    return Vote(
        model=labels(poll.settings.members)[place],
        answer="",
        answer_value="",
        answer_unit="",
        is_blank=False,
        ref_id=[],
        passages=[],
        weight=poll.settings.members[place].weight,
        grounded=False,
        latency_ms=0.0,
        stopped=True,
    )


def ballots(counted: Sequence[Counted], *, by_likelihood: bool = False) -> list[Ballot]:
    """The votes as they are counted; `by_likelihood`: each as much as its member was sure of it."""
    return [
        Ballot(
            value=one.vote.answer_value,
            unit=one.vote.answer_unit,
            is_blank=one.vote.is_blank,
            weight=one.vote.weight * (_sureness(one) if by_likelihood else 1.0),
            failed=one.vote.error is not None,
            grounded=one.vote.grounded,
        )
        for one in counted
    ]


def conclude(poll: Poll, counted: Sequence[Counted]) -> Finding:
    """The winner's answer with its citations, or why there is none. `counted` in members' order."""
    if not poll.passages:
        return _declined(poll, "No passage is near enough to the question.")
    if not speaks(poll):
        best, needed = standing(poll), poll.settings.evidence_floor
        reason = f"No sentence speaks to the question (the best {best:.3f}, needed {needed:g})."
        return _declined(poll, reason)
    if poll.schema is not None:
        return _conclude_json(poll, poll.schema, counted)
    try:
        outcome = _vote(poll.settings.strategy, counted)
    except NoVotes:
        return _declined(poll, "Every member whose vote counts failed.")
    if outcome.is_blank:
        return _declined(poll, outcome.explanation, outcome)
    # The same value is spelled in several ways, and not every one of them stands in a passage.
    order = [outcome.winner, *(at for at in outcome.group if at != outcome.winner)]
    winners = [counted[at] for at in order]
    winner = next((one for one in winners if one.citations), None)
    if winner is None or winner.answer is None:
        reason = f"{outcome.explanation} Its value stands in no passage about the question."
        return _declined(poll, reason, outcome)
    cited = compose(winner.answer, winner.citations, extractive=poll.modes[winner.place])
    others = [one for one in winners if one is not winner]
    documents, dropped = _references(poll, [winner, *others], counted)
    explanation = outcome.explanation
    if dropped:
        explanation += f" Cited, but without the value: {', '.join(dropped)}."
    return Finding(
        cited=Cited(cited.text, cited.annotations, documents),
        answer=winner.answer,
        agreement=outcome.agreement,
        explanation=explanation,
    )


def _references(
    poll: Poll, winners: Sequence[Counted], counted: Sequence[Counted]
) -> tuple[list[str], list[str]]:
    """The documents that bear the answer out, and those that winners cite but which do not.

    The answering one's are first.
    """
    rule = poll.settings.references
    voters = winners if rule == "winners" else [*winners, *(c for c in counted if c not in winners)]
    borne = [_documents(one) for one in voters]
    found = agreed_references(borne, [one.vote.weight for one in voters], rule)
    grounded = {document for each in borne for document in each}
    cited = dict.fromkeys(document for one in winners for document in one.vote.ref_id)
    return found, [document for document in cited if document not in grounded]


def _documents(one: Counted) -> list[str]:
    """Of the passages that a vote's value stands in."""
    return list(dict.fromkeys(c.passage.hit.document_id for c in one.citations))


def _count_json(poll: Poll, reply: Reply) -> Counted:
    """JSON as a vote. Its value is the JSON itself; its passages are those its words are in."""
    answer = reply.answer
    text = answer.answer if answer else ""
    grounded, cited = grounding(text, poll.passages) if text else (False, ())
    documents = {passage.n: passage.hit.document_id for passage in poll.passages}
    vote = Vote(
        model=labels(poll.settings.members)[reply.place],
        answer=text,
        answer_value=text,
        answer_unit="",
        is_blank=False,
        ref_id=list(dict.fromkeys(documents[n] for n in cited)),
        passages=list(cited),
        weight=poll.settings.members[reply.place].weight,
        grounded=grounded,
        latency_ms=round(reply.latency_ms, 1),
        error=str(reply.error) if reply.error else None,
    )
    return Counted(place=reply.place, vote=vote, answer=answer, citations=())


def _conclude_json(poll: Poll, schema: str, counted: Sequence[Counted]) -> Finding:
    valid = [one for one in counted if one.answer is not None and one.vote.weight > 0]
    if not valid:
        return _declined(poll, "Every member whose vote counts failed.")
    outcome = vote_on_json(
        [one.vote.answer for one in valid], [one.vote.weight for one in valid], schema
    )
    _, cited = grounding(outcome.text, poll.passages)
    documents = {passage.n: passage.hit.document_id for passage in poll.passages}
    return Finding(
        cited=Cited(outcome.text, [], list(dict.fromkeys(documents[n] for n in cited))),
        answer=MemberAnswer(answer_value=outcome.text, passages=cited, answer=outcome.text),
        agreement=outcome.agreement,
        explanation=outcome.explanation,
    )


def _vote(strategy: AnyStrategy, counted: Sequence[Counted]) -> Outcome:
    """By the votes alone. A judge and a consensus choose later, among what the majority leaves."""
    match strategy:
        case "confidence":
            return vote(ballots(counted, by_likelihood=True), "majority")
        case "consensus" | "judge":
            return vote(ballots(counted), "majority")
        case _:
            return vote(ballots(counted), strategy)


def _sureness(one: Counted) -> float:
    """A blank vote, of which no likelihood is known, counts as one that is as sure as not."""
    return 0.5 if one.vote.likelihood is None else max(one.vote.likelihood, 1e-6)


def withheld(poll: Poll, finding: Finding, likely: float) -> Finding:
    """An answer that is too uncertain to be given."""
    needed = poll.settings.confidence_floor
    reason = f"{finding.explanation} Too uncertain: confidence {likely:.2f}, needed {needed:g}."
    return _declined(poll, reason)


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
        refused=poll.schema is not None,
    )
