"""How far each member can be trusted, learnt without labels from how members agree. Pure.

One question tells nothing, over which everybody agrees with as many as they do; many do.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from gateway.ensemble.vote import Ballot, NoVotes, groups_of

__all__ = ["Agreement"]

PRIOR = 2.0  # questions' worth of belief that a member is like the others


class Agreement(Struct, kw_only=True):
    """By member, over the questions in which its vote counted beside others: the sum of the shares
    of the others who gave its value, and how many such questions there were."""

    agreed: dict[str, float] = field(default_factory=dict[str, float])
    asked: dict[str, int] = field(default_factory=dict[str, int])

    def learn(self, ballots: Mapping[str, Ballot]) -> bool:
        """Take in one question's ballots, by member; whether they told anything."""
        names = list(ballots)
        try:
            groups = groups_of(list(ballots.values()))
        except NoVotes:
            return False
        others = sum(map(len, groups)) - 1
        for places in groups if others else ():
            for at in places:
                name = names[at]
                self.agreed[name] = self.agreed.get(name, 0.0) + (len(places) - 1) / others
                self.asked[name] = self.asked.get(name, 0) + 1
        return others > 0

    def weights(self, names: Sequence[str]) -> list[float]:
        """Each member's mean share of the others who give its value, 0..1.

        Members who always agree weigh alike, and all weigh 1 where nobody ever agrees.
        """
        asked = sum(self.asked.get(name, 0) for name in names)
        mean = sum(self.agreed.get(name, 0.0) for name in names) / asked if asked else 1.0
        if mean == 0:
            return [1.0] * len(names)
        return [
            (self.agreed.get(name, 0.0) + PRIOR * mean) / (self.asked.get(name, 0) + PRIOR)
            for name in names
        ]
