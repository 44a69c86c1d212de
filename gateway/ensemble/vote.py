"""Counting votes. Pure: the same functions vote live and over recorded answers."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.ensemble.values import Value, close, normalise
from gateway.schema.ensemble import Strategy

__all__ = [
    "BLANK_WEIGHT",
    "UNGROUNDED_WEIGHT",
    "Ballot",
    "NoVotes",
    "Outcome",
    "References",
    "Strategy",
    "agreed_references",
    "group",
    "groups_of",
    "majority",
    "normalise",
    "vote",
]

# Where weights count, a blank is worth less than a value: to overlook what the passages say is
# commoner than to invent what they do not. A value that its passages do not contain is worth little
# less than one that they do: it may have been computed. docs/ensemble-replay.md measures both.
BLANK_WEIGHT = 0.6
UNGROUNDED_WEIGHT = 0.9

Cluster = list[int]
References = Literal["winners", "winner", "union"]


class NoVotes(ValueError):
    """Nobody's vote counts: every member failed, or none has any weight."""


class Ballot(Struct, frozen=True, kw_only=True):
    """One member's vote. A failed one does not count."""

    value: str = ""
    unit: str = ""
    is_blank: bool = False
    weight: float = 1.0
    failed: bool = False
    grounded: bool | None = None  # whether a passage it cites has its value; None: not known


class Outcome(Struct, frozen=True, kw_only=True):
    """Who won. `group` are the places of all votes for the winning value, `winner` one of them."""

    winner: int
    group: tuple[int, ...]
    is_blank: bool
    agreement: float  # the group's share of the weight that counts, 0..1
    explanation: str


def vote(ballots: Sequence[Ballot], strategy: Strategy = "majority") -> Outcome:
    """What the ballots come to. Raises NoVotes.

    - `majority`: the value with the most weight behind it; of equals, the one voted for first.
    - `first_non_blank`: the value of the first member who gives one.
    - `weighted`: as majority, but a blank counts less, and of the winners the one answers whose
      spelling has the most weight.
    - `grounded`: as weighted, and a value that its own passages do not contain counts less.
    """
    match strategy:
        case "majority":
            return majority(ballots)
        case "first_non_blank":
            return _first_non_blank(ballots)
        case "weighted":
            return _discounted(ballots, lambda _: 1.0)
        case "grounded":
            return _discounted(ballots, lambda b: UNGROUNDED_WEIGHT if b.grounded is False else 1.0)


def majority(ballots: Sequence[Ballot]) -> Outcome:
    """The value with the most weight behind it; of equals, the one voted for first.

    Raises NoVotes.
    """
    groups = groups_of(ballots)
    weights = [sum(ballots[at].weight for at in places) for places in groups]
    total = sum(weights)
    # Sums of the same weights in another order differ in the last bit: that is a tie, no lead.
    best = max(weights)
    winners = next(g for g, w in zip(groups, weights, strict=True) if w >= best - 1e-9 * total)
    return _outcome(ballots, groups, winners, winners[0])


def groups_of(ballots: Sequence[Ballot]) -> list[tuple[int, ...]]:
    """The places of the ballots that count, grouped by value. Raises NoVotes."""
    counted = [at for at, ballot in enumerate(ballots) if not ballot.failed and ballot.weight > 0]
    if not counted:
        raise NoVotes("no vote counts")
    values = [_value(ballots[at]) for at in counted]
    return [tuple(counted[place] for place in places) for places in group(values)]


def agreed_references(
    cited: Sequence[Sequence[str]], weights: Sequence[float], rule: References = "winners"
) -> list[str]:
    """The documents of an answer, from what each winner cites; the first is the answering one.

    `winners`: those that winners with at least half of the weight cite, or if there are none the
    answering one's; `winner`: the answering one's; `union`: all. In the order of citing.
    """
    every = list(dict.fromkeys(document for one in cited for document in one))
    own = list(dict.fromkeys(cited[0])) if cited else []
    if rule == "union":
        return every
    if rule == "winner":
        return own
    share: Counter[str] = Counter()
    for one, weight in zip(cited, weights, strict=True):
        for document in set(one):
            share[document] += weight  # pyright: ignore[reportArgumentType]
    half = sum(weights) * (0.5 - 1e-9)
    return [document for document in every if share[document] >= half] or own


def group(values: Sequence[Value]) -> list[tuple[int, ...]]:
    """Places of equal values, the group of the earliest value first.

    Which values share a group does not depend on their order: tolerances chain (1 is near 1.0009,
    that near 1.0018), so numbers are clustered in the order of their size instead.
    """
    values = _with_flags(values)
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


def _with_flags(values: Sequence[Value]) -> Sequence[Value]:
    """Yes and no as 1 and 0 where another vote says so: data sets do."""
    bare = {
        value.low for value in values if value.kind == "number" and value.exact and not value.unit
    }
    if bare.isdisjoint((0.0, 1.0)):
        return values
    flags = {"yes": Value("number", 1.0, 1.0, exact=True), "no": Value("number", exact=True)}
    return [flags.get(value.text, value) if value.kind == "text" else value for value in values]


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


def _first_non_blank(ballots: Sequence[Ballot]) -> Outcome:
    groups = groups_of(ballots)
    counted = sorted(at for places in groups for at in places)
    chosen = next((at for at in counted if _value(ballots[at]).kind != "blank"), counted[0])
    return _outcome(ballots, groups, next(g for g in groups if chosen in g), chosen)


def _discounted(ballots: Sequence[Ballot], worth: Callable[[Ballot], float]) -> Outcome:
    """A majority of weights in which a blank counts less, and a value what it is `worth`."""
    reweighed = [
        msgspec.structs.replace(
            ballot,
            weight=ballot.weight
            * (BLANK_WEIGHT if _value(ballot).kind == "blank" else worth(ballot)),
        )
        for ballot in ballots
    ]
    outcome = majority(reweighed)
    spellings = {at: " ".join(ballots[at].value.casefold().split()) for at in outcome.group}
    behind: dict[str, float] = {}
    for at, spelling in spellings.items():
        behind[spelling] = behind.get(spelling, 0.0) + reweighed[at].weight
    # Rounded, so that sums in another order are equal.
    winner = max(
        outcome.group,
        key=lambda at: (round(behind[spellings[at]], 9), round(reweighed[at].weight, 9), -at),
    )
    return msgspec.structs.replace(outcome, winner=winner)


def _outcome(
    ballots: Sequence[Ballot],
    groups: Sequence[tuple[int, ...]],
    winners: tuple[int, ...],
    winner: int,
) -> Outcome:
    total = sum(ballots[at].weight for places in groups for at in places)
    blank = _value(ballots[winner]).kind == "blank"
    return Outcome(
        winner=winner,
        group=winners,
        is_blank=blank,
        agreement=min(1.0, sum(ballots[at].weight for at in winners) / total),
        explanation=_explain(ballots, groups, winners, blank),
    )


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
