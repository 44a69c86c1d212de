"""How far each member can be trusted, learnt from how members agree over many questions. Pure.

No labels are needed, but a batch is: over one question everybody agrees with as many as they do.
"""

from collections.abc import Sequence

from gateway.ensemble.vote import Ballot, NoVotes, groups_of

__all__ = ["agreement_weights"]

PRIOR = 2.0  # questions' worth of belief that a member is like the others


def agreement_weights(batch: Sequence[Sequence[Ballot]]) -> list[float]:
    """Each member's mean share of the other members who give its value, 0..1.

    `batch` has the ballots of one question after another, members always in the same order. A
    question counts for the members whose vote counts. Members who always agree weigh alike.
    """
    members = len(batch[0]) if batch else 0
    agreed, asked = [0.0] * members, [0.0] * members
    for ballots in batch:
        try:
            groups = groups_of(ballots)
        except NoVotes:
            continue
        others = sum(map(len, groups)) - 1
        if not others:
            continue
        for places in groups:
            for at in places:
                agreed[at] += (len(places) - 1) / others
                asked[at] += 1
    total = sum(asked)
    mean = sum(agreed) / total if total else 1.0
    if mean == 0:
        return [1.0] * members  # nobody ever agrees: nothing to learn from
    return [(a + PRIOR * mean) / (n + PRIOR) for a, n in zip(agreed, asked, strict=True)]
