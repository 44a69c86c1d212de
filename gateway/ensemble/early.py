"""When the members that are still thinking need not be waited for, or not be asked. Pure."""

from collections import defaultdict
from collections.abc import Sequence

from gateway.ensemble.values import Value, normalise
from gateway.ensemble.vote import BLANK_WEIGHT, UNGROUNDED_WEIGHT, Ballot
from gateway.schema.ensemble import AnyStrategy

__all__ = ["agreed", "settled"]

# The least that a strategy may count a vote for: one with a value, and a blank one.
LEAST: dict[AnyStrategy, tuple[float, float]] = {
    "majority": (1.0, 1.0),
    "weighted": (1.0, BLANK_WEIGHT),
    "grounded": (UNGROUNDED_WEIGHT, min(BLANK_WEIGHT, UNGROUNDED_WEIGHT)),
}


def settled(
    ballots: Sequence[Ballot], outstanding: Sequence[float], strategy: AnyStrategy = "majority"
) -> bool:
    """Whether the outcome stands, whatever the members of the `outstanding` weights will say.

    It does once more than half of all weight is behind votes that say the very same, even if the
    strategy counts these for less and all others in full. Votes that are the same are never told
    apart, while such as are only near each other may be, once others come.
    """
    if strategy not in LEAST:
        return False
    counted = [ballot for ballot in ballots if not ballot.failed and ballot.weight > 0]
    behind: dict[Value, float] = defaultdict(float)
    for ballot in counted:
        behind[_value(ballot)] += ballot.weight
    total = sum(ballot.weight for ballot in counted) + sum(outstanding)
    ungrounded, blank = LEAST[strategy]
    return any(
        weight * (blank if value.kind == "blank" else ungrounded) > total - weight
        for value, weight in behind.items()
    )


def agreed(ballots: Sequence[Ballot]) -> bool:
    """Whether all votes say the very same, there are two at least, and it is an answer."""
    values = {_value(ballot) for ballot in ballots if not ballot.failed}
    return len(ballots) > 1 and len(values) == 1 and values.pop().kind != "blank"


def _value(ballot: Ballot) -> Value:
    return Value("blank") if ballot.is_blank else normalise(ballot.value, ballot.unit)
