"""Of free texts, the one that is nearest to all others. Pure."""

from collections.abc import Sequence

from gateway.ensemble.cite import Cited, cite, compose
from gateway.ensemble.tally import Counted, Finding, Poll

__all__ = ["nearest", "outcome", "text_of"]


def text_of(one: Counted) -> str:
    """What a vote says: its own words, or its value where it has none."""
    vote = one.vote
    return vote.answer or f"{vote.answer_value} {vote.answer_unit}".strip()


def nearest(likeness: Sequence[Sequence[float]], weights: Sequence[float]) -> tuple[int, float]:
    """The place of the text that is most like the others, and how much, 0..1.

    `likeness` has shape (n, n), cosine similarities; a text's likeness to itself does not count.
    Of equals, the first.
    """
    scores: list[float] = []
    for at, row in enumerate(likeness):
        others = [(like, weights[n]) for n, like in enumerate(row) if n != at]
        total = sum(weight for _, weight in others)
        scores.append(sum(like * weight for like, weight in others) / total if total else 1.0)
    # Rounded: equal texts have likenesses that differ in the last bits.
    best = max(range(len(scores)), key=lambda at: (round(scores[at], 6), -at))
    return best, min(1.0, max(0.0, scores[best]))


def outcome(poll: Poll, counted: Sequence[Counted], place: int, agreement: float) -> Finding:
    """The answer of the vote at `place`, with its citations: where its value stands, or its own."""
    one = counted[place]
    assert one.answer is not None
    citations = one.citations or cite(one.answer, poll.passages, poll.ranked)
    extractive = poll.modes[one.place]
    cited = compose(one.answer, citations, extractive=extractive and bool(citations))
    if not citations:
        documents = {passage.n: passage.hit.document_id for passage in poll.passages}
        refs = list(dict.fromkeys(documents[n] for n in one.answer.passages))
        cited = Cited(cited.text, cited.annotations, refs)
    return Finding(
        cited=cited,
        answer=one.answer,
        agreement=agreement,
        explanation=f"The answer of {one.vote.model} is nearest to all others ({agreement:.2f}).",
    )
