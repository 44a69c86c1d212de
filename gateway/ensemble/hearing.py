"""Hearing the members: stage after stage, no longer than their votes are needed."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from gateway.ensemble import say
from gateway.ensemble.early import agreed, settled
from gateway.ensemble.fanout import Loading, Question, Reply, ask, most_telling
from gateway.ensemble.plan import Plan
from gateway.ensemble.prompt import Passage
from gateway.ensemble.settings import Member, labels
from gateway.ensemble.tally import Counted, Poll, ballots, count, stopped
from gateway.schema.ensemble import Vote
from models.errors import ContextOverflow, EngineUnavailable, NotDownloaded

__all__ = ["Hearing", "Prepare", "stages"]

# Every member's question over so many passages.
Prepare = Callable[[Sequence[Passage]], list[Question]]


class Hearing:
    """One poll's votes, as they come. `replies` are all that was computed, `counted` the votes
    that count, and `votes` every member's, in their order.

    Members of a later stage are asked only where those before do not agree. Where the outcome
    stands, the others are cancelled. A member whose context is too small for all passages is
    asked again with fewer.
    """

    def __init__(self, poll: Poll, schedule: Plan, prepare: Prepare) -> None:
        self.replies: list[Reply] = []
        self.counted: list[Counted] = []
        self._poll = poll
        self._settings = poll.settings
        self._schedule = schedule
        self._prepare = prepare

    async def run(self) -> AsyncGenerator[str, None]:
        """What is to be told of it, as it happens. Raises what most tells why nobody answered.

        That is EngineUnavailable where fewer members than the quorum did.
        """
        names = labels(self._settings.members)
        for stage in stages(self._settings.members):
            if self._enough(stage):
                break
            yield say.asking([names[place] for place in stage], self._schedule.execution)
            async with aclosing(self._ask(stage, self._poll.passages)) as told:
                async for text in told:
                    yield text
        self._check_quorum()
        self.counted.sort(key=lambda one: one.place)
        if missing := self._missing():
            yield say.spared([names[at] for at in missing])

    @property
    def votes(self) -> list[Vote]:
        """Those of members that were not asked or not waited for included: these are empty."""
        votes = {one.place: one.vote for one in self.counted}
        for at in self._missing():
            votes[at] = stopped(self._poll, at)
        return [votes[at] for at in sorted(votes)]

    async def _ask(
        self, places: Sequence[int], passages: Sequence[Passage]
    ) -> AsyncGenerator[str, None]:
        """The votes of the members at these places; of those whose context it overflows, again."""
        waves = [[at for at in wave if at in places] for wave in self._schedule.waves]
        overflown: list[tuple[int, ContextOverflow]] = []
        waiting = set(places)
        beside = [at for at in self._schedule.beside if at in places]
        coming = ask(self._prepare(passages), waves, self._settings.timeout_s, beside)
        async with aclosing(coming):
            async for replies in coming:
                if isinstance(replies, Loading):
                    yield say.loading(self._settings.members[replies.place].model)
                    continue
                for reply in replies:
                    waiting.discard(reply.place)
                    error = reply.error
                    if isinstance(error, ContextOverflow) and len(passages) > 1:
                        overflown.append((reply.place, error))
                        continue
                    self.replies.append(reply)
                    self.counted.append(count(self._poll, reply))
                    yield say.voted(self.counted[-1].vote)
                if self._settled([*waiting, *(at for at, _ in overflown)]):
                    return
        if overflown:
            fewer = _strongest(passages, min(_room(error, passages) for _, error in overflown))
            again = [at for at, _ in overflown]
            names = labels(self._settings.members)
            yield say.shortened([names[at] for at in again], len(fewer))
            async with aclosing(self._ask(again, fewer)) as told:
                async for text in told:
                    yield text

    def _settled(self, waiting: Sequence[int]) -> bool:
        settings = self._settings
        if not settings.early_stop:
            return False
        if self._valid() < settings.quorum:
            return False
        members = settings.members
        asked = {one.place for one in self.counted} | set(waiting)
        others = [at for at in range(len(members)) if at not in asked]
        # Members of later stages may be asked yet, unless those of this one agree.
        return settled(
            ballots(self.counted),
            [members[at].weight for at in (*waiting, *others)],
            settings.strategy,
        )

    def _enough(self, stage: Sequence[int]) -> bool:
        """Whether nobody of this stage need be asked: it is not the first, and those agree."""
        if not self.counted or self._valid() < self._settings.quorum:
            return False
        grounded = any(one.citations for one in self.counted)
        return (grounded and agreed(ballots(self.counted))) or self._settled(stage)

    def _missing(self) -> list[int]:
        heard = {one.place for one in self.counted}
        return [at for at in range(len(self._settings.members)) if at not in heard]

    def _valid(self) -> int:
        return sum(one.vote.error is None for one in self.counted)

    def _check_quorum(self) -> None:
        valid, needed = self._valid(), self._settings.quorum
        if valid >= needed:
            return
        errors = [reply.error for reply in self.replies if reply.error]
        worst = most_telling(errors)
        if not valid:
            # It is not the model that the client named which does not exist.
            raise EngineUnavailable(str(worst)) if isinstance(worst, NotDownloaded) else worst
        raise EngineUnavailable(
            f"Only {valid} of {len(self._settings.members)} members answered, and "
            f"{needed} have to. Of the others: {worst}"
        )


def stages(members: Sequence[Member]) -> list[tuple[int, ...]]:
    """Places of the members of each stage, the first stage first."""
    numbers = sorted({member.stage for member in members})
    return [
        tuple(at for at, member in enumerate(members) if member.stage == number)
        for number in numbers
    ]


def _room(error: ContextOverflow, passages: Sequence[Passage]) -> int:
    """How many of the passages are likely to fit; fewer than now, and one at least."""
    share = error.context / max(1, error.prompt_tokens)
    return max(1, min(len(passages) - 1, int(len(passages) * share)))


def _strongest(passages: Sequence[Passage], count: int) -> list[Passage]:
    """So many of the passages by score, in their order."""
    kept = sorted(passages, key=lambda passage: -passage.hit.score)[:count]
    return [passage for passage in passages if passage in kept]
