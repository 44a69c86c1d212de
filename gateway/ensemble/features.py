"""What is seen of an answer, beside what members say of it. Pure."""

from collections.abc import Sequence

from gateway.ensemble.confidence import features_of_votes
from gateway.ensemble.contrast import Contrast
from gateway.ensemble.tally import Counted, Finding, Poll, held_kind, held_names

__all__ = ["features"]


def features(
    poll: Poll, counted: Sequence[Counted], finding: Finding, scored: Contrast | None = None
) -> dict[str, float]:
    """What speaks for and against the answer.

    `evidence`: the score of the sentence that fits the question best; `margin`: how far it is
    ahead of the best sentence of any other passage; `names`: the share of the question's names
    that it has; `kind`: 1, or 0 where no sentence can say what is asked for; `retrieval`: the
    score of the nearest passage; and what follows from the votes. Where the value was `scored`,
    `shown` and `alone`: how likely it is with the passages and without them, and `lift`: how much
    likelier with them.
    """
    best = poll.ranked[0] if poll.ranked else None
    other = next((s.score for s in poll.ranked if best is not None and s.n != best.n), 0.0)
    found = {
        "evidence": best.score if best else 0.0,
        "margin": best.score - other if best else 0.0,
        "names": held_names(poll),
        "kind": float(not poll.ranked or held_kind(poll)),
        "retrieval": max((passage.hit.score for passage in poll.passages), default=0.0),
        **features_of_votes([one.vote for one in counted], finding.agreement),
        **(scored.features if scored else {}),
    }
    return {name: round(min(1.0, max(0.0, value)), 4) for name, value in found.items()}
