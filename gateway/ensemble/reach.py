"""How far a search reaches, and when it is to reach further. Pure."""

from msgspec import Struct

from gateway.ensemble import say
from gateway.ensemble.settings import EnsembleSettings
from gateway.ensemble.tally import Poll, speaks

__all__ = ["Reach", "first", "further"]


class Reach(Struct, frozen=True):
    """How many passages are searched for, and their least cosine similarity to the question."""

    top_k: int
    floor: float


def first(settings: EnsembleSettings) -> Reach:
    """Where a search begins."""
    return Reach(settings.top_k, settings.score_floor)


def further(poll: Poll, reach: Reach, *, blank: bool) -> tuple[Reach, str] | None:
    """How far to search again, and why, in words; None where that is in vain.

    `blank`: the members found no answer. Where they were not asked, since no sentence speaks to
    the question, farther passages may have one; where they were, more passages may. Without an
    evidence floor nothing would tell whether what is farther off speaks to the question.
    """
    settings = poll.settings
    if not speaks(poll):
        floor = settings.second_floor
        if floor >= reach.floor or settings.evidence_floor <= 0:
            return None
        return Reach(reach.top_k, floor), say.farther(floor)
    if blank and len(poll.passages) >= reach.top_k < settings.max_top_k:
        top_k = min(2 * reach.top_k, settings.max_top_k)
        return Reach(top_k, reach.floor), say.again(top_k)
    return None
