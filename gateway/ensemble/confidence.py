"""How likely the answer is right, from what is seen of it rather than what members say of it. Pure.

A logistic model of a few features, each from 0 to 1. Its coefficients were fitted to labelled
questions (docs/ensemble-measured.md); an ensemble may have its own.
"""

import math
from collections.abc import Mapping, Sequence

from gateway.schema.ensemble import Vote

__all__ = ["FEATURES", "NEUTRAL", "SHIPPED", "confidence", "features_of_votes", "standing"]

FEATURES = (
    *("evidence", "margin", "names", "kind", "retrieval"),
    *("agreement", "grounded", "answered", "likelihood"),
    *("shown", "alone", "lift"),
)
# What stands for a feature that was not seen: their means, so that it speaks neither way.
NEUTRAL: Mapping[str, float] = {"shown": 0.84, "alone": 0.57, "lift": 0.28}
SHIPPED: Mapping[str, float] = {
    "bias": -10.99,
    "evidence": 4.67,
    "margin": 1.78,
    "names": 1.14,
    "retrieval": -0.67,
    "agreement": 2.26,
    "shown": 7.77,
    "alone": -1.27,
    "lift": -3.08,
}


def confidence(seen: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    """The probability that the answer is right, 0..1. What has no coefficient does not count."""
    score = coefficients.get("bias", 0.0)
    for name in FEATURES:
        score += coefficients.get(name, 0.0) * seen.get(name, NEUTRAL.get(name, 0.0))
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))


def standing(seen: Mapping[str, float], missing_names: float, missing_kind: float) -> float:
    """What is held against an evidence floor: the best sentence's score, less what it loses for the
    question's names that it lacks, and where it cannot say what is asked for. Where no evidence
    was looked for, nothing speaks against it.
    """
    lost = missing_names * (1 - seen.get("names", 1.0))
    lost += missing_kind * (1 - seen.get("kind", 1.0))
    return seen.get("evidence", 1.0) - lost


def features_of_votes(votes: Sequence[Vote], agreement: float) -> dict[str, float]:
    """What follows from the votes and from the winners' share of their weight, each 0..1.

    `grounded`: the share of the weight whose value stands in the passage it cites; `answered`: the
    share that is not blank; `likelihood`: how sure the members were of their values, on average (0
    where they were not asked).
    """
    valid = [vote for vote in votes if vote.error is None]
    total = sum(vote.weight for vote in valid) or 1.0
    return {
        "agreement": agreement,
        "grounded": sum(vote.weight for vote in valid if vote.grounded) / total,
        "answered": sum(vote.weight for vote in valid if not vote.is_blank) / total,
        "likelihood": sum(vote.weight * (vote.likelihood or 0.0) for vote in valid) / total,
    }
