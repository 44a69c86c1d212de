"""When the members that are still thinking need not be waited for, or not be asked. Pure."""

from collections import defaultdict
from collections.abc import Sequence

from gateway.ensemble.values import Value, normalise
from gateway.ensemble.vote import Ballot

__all__ = ["agreed", "settled"]


def settled(ballots: Sequence[Ballot], outstanding: Sequence[float]) -> bool:
    """Whether a majority stands, whatever the members of the `outstanding` weights will say.

    It does once more than half of all weight is behind votes that say the very same: these are
    never told apart, while votes that are only near each other may be, once others come.
    """
    counted = [ballot for ballot in ballots if not ballot.failed and ballot.weight > 0]
    behind: dict[Value, float] = defaultdict(float)
    for ballot in counted:
        behind[_value(ballot)] += ballot.weight
    total = sum(ballot.weight for ballot in counted) + sum(outstanding)
    return bool(behind) and max(behind.values()) > total / 2


def agreed(ballots: Sequence[Ballot]) -> bool:
    """Whether all votes say the very same, there are two at least, and it is an answer."""
    values = {_value(ballot) for ballot in ballots if not ballot.failed}
    return len(ballots) > 1 and len(values) == 1 and values.pop().kind != "blank"


def _value(ballot: Ballot) -> Value:
    return Value("blank") if ballot.is_blank else normalise(ballot.value, ballot.unit)
