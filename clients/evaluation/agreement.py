"""Weights learnt from how members agree over recorded questions, by the gateway's code. Pure."""

from collections.abc import Sequence

from gateway.ensemble.agreement import Agreement
from gateway.ensemble.vote import Ballot

__all__ = ["agreement_weights"]


def agreement_weights(batch: Sequence[Sequence[Ballot]]) -> list[float]:
    """Each member's mean share of the other members who give its value, 0..1.

    `batch` has the ballots of one question after another, members always in the same order.
    """
    members = [str(at) for at in range(len(batch[0]))] if batch else []
    known = Agreement()
    for ballots in batch:
        known.learn(dict(zip(members, ballots, strict=True)))
    return known.weights(members)
