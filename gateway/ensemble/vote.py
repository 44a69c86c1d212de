"""Counting votes. Pure: the same function votes live and over recorded answers."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from gateway.ensemble.values import Value, close, normalise

__all__ = ["Ballot", "NoVotes", "Outcome", "group", "majority", "normalise"]

Cluster = list[int]


class NoVotes(ValueError):
    """Nobody's vote counts: every member failed, or none has any weight."""


class Ballot(Struct, frozen=True, kw_only=True):
    """One member's vote. A failed one does not count."""

    value: str = ""
    unit: str = ""
    is_blank: bool = False
    weight: float = 1.0
    failed: bool = False


class Outcome(Struct, frozen=True, kw_only=True):
    """Who won. `group` are the places of all votes for the winning value, `winner` the first."""

    winner: int
    group: tuple[int, ...]
    is_blank: bool
    agreement: float  # the group's share of the weight that counts, 0..1
    explanation: str


def majority(ballots: Sequence[Ballot]) -> Outcome:
    """The value with the most weight behind it; of equals, the one voted for first.

    Raises NoVotes.
    """
    counted = [at for at, ballot in enumerate(ballots) if not ballot.failed and ballot.weight > 0]
    if not counted:
        raise NoVotes("no vote counts")
    values = [_value(ballots[at]) for at in counted]
    groups = [tuple(counted[place] for place in places) for places in group(values)]
    weights = [sum(ballots[at].weight for at in places) for places in groups]
    total = sum(weights)
    # Sums of the same weights in another order differ in the last bit: that is a tie, no lead.
    best = max(weights)
    winners = next(g for g, w in zip(groups, weights, strict=True) if w >= best - 1e-9 * total)
    share = min(1.0, sum(ballots[at].weight for at in winners) / total)
    blank = values[counted.index(winners[0])].kind == "blank"
    return Outcome(
        winner=winners[0],
        group=winners,
        is_blank=blank,
        agreement=share,
        explanation=_explain(ballots, groups, winners, blank),
    )


def group(values: Sequence[Value]) -> list[tuple[int, ...]]:
    """Places of equal values, the group of the earliest value first.

    Which values share a group does not depend on their order: tolerances chain (1 is near 1.0009,
    that near 1.0018), so numbers are clustered in the order of their size instead.
    """
    blanks = [at for at, value in enumerate(values) if value.kind == "blank"]
    texts: dict[str, Cluster] = {}
    for at, value in enumerate(values):
        if value.kind == "text":
            texts.setdefault(value.text, []).append(at)
    clusters = [blanks, *texts.values()]
    for kind in ("number", "range"):
        numeric = [at for at, value in enumerate(values) if value.kind == kind]
        for cluster in _near(values, numeric):
            clusters += _by_unit(values, cluster)
    return sorted(tuple(sorted(cluster)) for cluster in clusters if cluster)


def _near(values: Sequence[Value], numeric: Cluster) -> list[Cluster]:
    """Each value joins the first cluster whose smallest value it is close to."""
    clusters: list[Cluster] = []
    for at in sorted(numeric, key=lambda at: values[at]):
        for cluster in clusters:
            if close(values[cluster[0]], values[at]):
                cluster.append(at)
                break
        else:
            clusters.append([at])
    return clusters


def _by_unit(values: Sequence[Value], cluster: Cluster) -> list[Cluster]:
    """Split by unit. Values without one go with the commonest, of equals the first by name."""
    counts = Counter(values[at].unit for at in cluster if values[at].unit)
    if len(counts) <= 1:
        return [cluster]
    common = min(counts, key=lambda unit: (-counts[unit], unit))
    split: dict[str, Cluster] = {}
    for at in cluster:
        split.setdefault(values[at].unit or common, []).append(at)
    return list(split.values())


def _value(ballot: Ballot) -> Value:
    return Value("blank") if ballot.is_blank else normalise(ballot.value, ballot.unit)


def _explain(
    ballots: Sequence[Ballot],
    groups: Sequence[tuple[int, ...]],
    winners: tuple[int, ...],
    blank: bool,
) -> str:
    def said(places: tuple[int, ...]) -> str:
        ballot = ballots[places[0]]
        if (blank and places == winners) or _value(ballot).kind == "blank":
            return "no answer"
        return f"“{' '.join(f'{ballot.value} {ballot.unit}'.split())}”"

    total = sum(len(places) for places in groups)
    others = [f"{len(places)} for {said(places)}" for places in groups if places != winners]
    parts = [f"{len(winners)} of {total} votes for {said(winners)}", *others]
    text = "; ".join(parts)
    failed = sum(ballot.failed for ballot in ballots)
    return f"{text}; {failed} failed." if failed else f"{text}."
