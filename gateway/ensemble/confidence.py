"""How likely the answer is right, from what is seen of it rather than what members say of it. Pure.

A logistic model of a few features, each from 0 to 1. Its coefficients were fitted to labelled
questions (docs/ensemble.md); an ensemble may have its own.
"""

import math
from collections.abc import Mapping

__all__ = ["FEATURES", "SHIPPED", "confidence"]

FEATURES = (
    *("evidence", "margin", "names", "retrieval"),
    *("agreement", "grounded", "answered", "likelihood"),
)
SHIPPED: Mapping[str, float] = {
    "bias": -3.93,
    "evidence": 3.53,
    "margin": 2.17,
    "retrieval": 1.31,
    "agreement": 1.03,
}


def confidence(seen: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    """The probability that the answer is right, 0..1. What has no coefficient does not count."""
    score = coefficients.get("bias", 0.0)
    score += sum(coefficients.get(name, 0.0) * value for name, value in seen.items())
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))
