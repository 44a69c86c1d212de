"""A question to an ensemble, from the search to the verdict."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec
from msgspec.structs import replace

from gateway.ensemble import consensus, say
from gateway.ensemble import reach as reaching
from gateway.ensemble.candidates import candidates
from gateway.ensemble.cite import sources
from gateway.ensemble.confidence import confidence
from gateway.ensemble.contrast import contrast
from gateway.ensemble.events import Answer, Deliberation, EnsembleRequest, Event, Verdict
from gateway.ensemble.evidence import Text, rank
from gateway.ensemble.fanout import Question, Reply
from gateway.ensemble.features import features
from gateway.ensemble.hearing import Hearing
from gateway.ensemble.judge import Judgement, candidates_of, judge
from gateway.ensemble.kind import ordered
from gateway.ensemble.members import overridden, questions
from gateway.ensemble.plan import Execution, Plan, plan, slowest
from gateway.ensemble.prompt import (
    Conversation,
    Passage,
    excerpts,
    number_passages,
    read,
    shared,
)
from gateway.ensemble.reach import Reach
from gateway.ensemble.rewrite import Write, asked_again, standalone, variants, writing
from gateway.ensemble.settings import EnsembleSettings
from gateway.ensemble.tally import Counted, Finding, Poll, ballots, conclude, speaks, withheld
from gateway.ensemble.trust import Trust
from gateway.ensemble.whole import asks_of_whole, named, opening_first
from gateway.schema.ensemble import EnsembleReport, Vote
from models.engine import Engine
from models.errors import InvalidRequest
from models.types import ChatPrompt, GenerateEnd, GenerateRequest, Timings, Usage
from retrieval.errors import StoreNotFound
from retrieval.types import Hit

__all__ = [
    "Answer",
    "Deliberation",
    "Ensemble",
    "EnsembleRequest",
    "Event",
    "LikenessFunction",
    "SearchFunction",
    "Verdict",
]


OPENINGS = 8  # passages of a document that is asked about as a whole, at least


class SearchFunction(Protocol):
    """How passages are found. Raises the errors of `retrieval.errors`."""

    def __call__(
        self,
        query: str | Sequence[str],
        *,
        owner: str,
        stores: Sequence[str],
        limit: int,
        score_floor: float,
    ) -> Awaitable[list[Hit]]: ...


class LikenessFunction(Protocol):
    """How like a question each of some texts is: the cosine similarity of their embeddings."""

    def __call__(
        self, query: str, texts: Sequence[str], *, owner: str
    ) -> Awaitable[Sequence[float]]: ...


class OverviewFunction(Protocol):
    """How one document begins, and each of its parts. Raises the errors of `retrieval.errors`."""

    def __call__(
        self,
        choose: Callable[[Sequence[str]], int | None],
        *,
        owner: str,
        stores: Sequence[str],
        limit: int,
        file_id: str | None,
    ) -> Awaitable[list[Hit]]: ...


class Ensemble:
    """One virtual model. `small` says of a model's id whether its values are to be extracted.

    `schedule` says which of the members on some models run at once.
    """

    def __init__(
        self,
        settings: EnsembleSettings,
        engines: Callable[[str], Engine],
        search: SearchFunction,
        likeness: LikenessFunction,
        small: Callable[[str], bool],
        schedule: Callable[[Sequence[str]], Plan] = plan,
        overview: OverviewFunction | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.settings = settings
        self._trust = trust or Trust()
        self._engines = engines
        self._search = search
        self._likeness = likeness
        self._small = small
        self._schedule = schedule
        self._overview = overview

    async def run(self, request: EnsembleRequest) -> AsyncGenerator[Event, None]:
        """Deliberations, then the answer, then the verdict, which is last. Closing it cancels.

        Raises InvalidRequest, the errors of retrieval, and, if every member failed, the one of
        their errors that tells most.
        """
        settings = overridden(self.settings, request.override, self._engines)
        if settings.learn_weights:
            settings = self._trust.weighed(settings)
        talk = read(request.messages, settings.history_turns, settings.history_chars)
        if again := asked_again(talk):
            talk = replace(talk, question=again)
        told: list[str] = []
        async with aclosing(self._deliberate(request, settings, talk)) as steps:
            async for step in steps:
                if isinstance(step, Answer):
                    yield step
                elif isinstance(step, Deliberation):
                    if settings.deliberation:
                        told.append(step.text)
                    yield msgspec.structs.replace(step, shown=settings.deliberation)
                else:
                    yield msgspec.structs.replace(step, reasoning="".join(told))

    async def _deliberate(
        self, request: EnsembleRequest, settings: EnsembleSettings, talk: Conversation
    ) -> AsyncGenerator[Event, None]:
        began = time.perf_counter()
        write = self._writer(request, settings)
        queries = [await standalone(talk, write)]
        queries += await variants(queries[0], settings.query_variants, write)
        if queries != [talk.question]:
            yield Deliberation(say.searching(queries))
        schedule = self._schedule([member.model for member in settings.members])
        replies: list[Reply] = []
        retrieval_ms = 0.0
        reach = reaching.first(settings)
        while True:
            passages, whole = await self._find(request.owner, settings, queries, reach)
            poll = await self._poll(request, settings, talk.question, queries[0], passages, whole)
            retrieval_ms += (time.perf_counter() - began) * 1000
            yield Deliberation(say.found(passages, reach.floor))
            counted: list[Counted] = []
            votes: list[Vote] = []
            if speaks(poll):
                hearing = Hearing(poll, schedule, self._prepare(request, settings, talk, poll))
                async with aclosing(hearing.run()) as told:
                    async for text in told:
                        yield Deliberation(text)
                replies += hearing.replies
                counted, votes = hearing.counted, hearing.votes
            again = reaching.further(poll, reach, blank=_blank(counted))
            if again is None:
                break
            reach, why = again
            yield Deliberation(why)
            began = time.perf_counter()
        self._learn(poll, counted)
        counting = time.thread_time()
        finding = await self._conclude(request, poll, counted)
        vote_ms = (time.thread_time() - counting) * 1000 + sum(one.took_ms for one in counted)
        scored = await contrast(
            poll, talk, finding, self._engines, request.owner, flex=request.flex
        )
        seen = features(poll, counted, finding, scored)
        likely = confidence(seen, settings.calibration)
        if finding.answer is not None and likely < settings.confidence_floor:
            finding = withheld(poll, finding, likely)
        yield Deliberation(say.concluded(finding, scored))
        ends: list[GenerateEnd] = []
        if self._needs_judge(poll, counted) and likely >= settings.confidence_floor:
            async with aclosing(self._judge(request, talk, poll, counted, finding)) as judging:
                async for piece in judging:
                    if isinstance(piece, Judgement):
                        finding = piece.finding
                        ends += [piece.end] if piece.end else []
                        if piece.error is not None:
                            yield Deliberation(say.judge_failed(piece.error))
                            yield Answer(finding.cited.text)
                    else:
                        yield Answer(piece)
        elif not finding.refused:
            yield Answer(finding.cited.text)
        yield Verdict(
            text=finding.cited.text,
            refused=finding.refused,
            reasoning="",
            annotations=finding.cited.annotations,
            report=_report(poll, schedule.execution, votes, finding, seen, likely),
            usage=_usage([one.usage for one in (*replies, scored, *ends) if one]),
            timings=_timings(replies, schedule, ends),
            retrieval_ms=retrieval_ms,
            vote_ms=vote_ms,
        )

    async def _conclude(
        self, request: EnsembleRequest, poll: Poll, counted: Sequence[Counted]
    ) -> Finding:
        finding = conclude(poll, counted)
        answered = [one for one in counted if one.answer is not None and not one.vote.is_blank]
        wanted = poll.settings.strategy == "consensus" and poll.schema is None
        if not wanted or not answered or _blank(counted):
            return finding
        texts = [consensus.text_of(one) for one in answered]
        rows = [await self._likeness(text, texts, owner=request.owner) for text in texts]
        place, agreement = consensus.nearest(rows, [one.vote.weight for one in answered])
        return consensus.outcome(poll, answered, place, agreement)

    def _learn(self, poll: Poll, counted: Sequence[Counted]) -> None:
        if poll.settings.learn_weights and poll.schema is None:
            places = [one.place for one in counted]
            self._trust.learn(poll.settings, dict(zip(places, ballots(counted), strict=True)))

    def _needs_judge(self, poll: Poll, counted: Sequence[Counted]) -> bool:
        """A small judge only chooses, so one candidate leaves it nothing to do."""
        if poll.settings.strategy != "judge" or poll.schema is not None or _blank(counted):
            return False
        return len(candidates_of(counted)) > self._small(self._judging(poll.settings))

    def _judging(self, settings: EnsembleSettings) -> str:
        return settings.judge or settings.members[0].model

    def _judge(
        self,
        request: EnsembleRequest,
        talk: Conversation,
        poll: Poll,
        counted: Sequence[Counted],
        majority: Finding,
    ) -> AsyncGenerator[str | Judgement, None]:
        settings = poll.settings
        model = self._judging(settings)
        small = self._small(model)
        near = excerpts(
            poll.passages, poll.ranked, settings.excerpt_sentences, settings.excerpt_margin
        )
        # No worked examples: they show what members write, and a judge writes otherwise.
        plain = msgspec.structs.replace(settings, examples=())
        shown = shared(plain, talk, near if small else poll.passages, extractive=small)
        asked = GenerateRequest(
            prompt=ChatPrompt(shown),
            max_tokens=request.max_tokens,
            owner=request.owner,
            flex=request.flex,
        )
        return judge(poll, counted, majority, self._engines(model), shown, asked, small=small)

    def _prepare(
        self, request: EnsembleRequest, settings: EnsembleSettings, talk: Conversation, poll: Poll
    ) -> Callable[[Sequence[Passage]], list[Question]]:
        def prepare(passages: Sequence[Passage]) -> list[Question]:
            return questions(
                settings, request, talk, passages, poll.ranked, poll.modes, self._engines
            )

        return prepare

    def _writer(self, request: EnsembleRequest, settings: EnsembleSettings) -> Write | None:
        """The first member that is large enough to write for the others, if there is one."""
        model = next((each for each in settings.models if not self._small(each)), None)
        if model is None:
            return None
        return writing(lambda: self._engines(model), request.owner, flex=request.flex)

    async def _find(
        self,
        owner: str,
        settings: EnsembleSettings,
        queries: Sequence[str],
        reach: Reach,
    ) -> tuple[tuple[Passage, ...], bool]:
        """The passages, and whether they are of a document that is asked about as a whole."""
        if not settings.stores:
            raise InvalidRequest(
                "No vector store to search: name one in ensemble.vector_store_ids.",
                "ensemble.vector_store_ids",
            )
        try:
            hits = await self._search(
                queries if len(queries) > 1 else queries[0],
                owner=owner,
                stores=settings.stores,
                limit=reach.top_k,
                score_floor=reach.floor,
            )
        except StoreNotFound as error:
            raise type(error)(error.name, "ensemble.vector_store_ids") from error
        except InvalidRequest as error:  # the embedder's, whose input the question is
            raise InvalidRequest(
                f"The question cannot be searched for. {error}", "messages"
            ) from error
        whole: list[Hit] = []
        if self._overview is not None and asks_of_whole(queries[0]):
            whole = await self._overview(
                lambda names: named(queries[0], names),
                owner=owner,
                stores=settings.stores,
                limit=max(reach.top_k, OPENINGS),
                file_id=hits[0].file_id if hits else None,
            )
            near = {hit.chunk_id: hit.score for hit in hits}
            whole = [replace(hit, score=near.get(hit.chunk_id, 0.0)) for hit in whole]
        # A passage without a word (a ruled line, say) can neither be read nor cited.
        found = [hit for hit in whole or hits if any(c.isalnum() for c in hit.text)]
        return number_passages(found), bool(whole)

    async def _poll(
        self,
        request: EnsembleRequest,
        settings: EnsembleSettings,
        question: str,
        query: str,
        passages: tuple[Passage, ...],
        whole: bool,
    ) -> Poll:
        # In a schema of the client's own, nobody's answer is words of a passage.
        forced = settings.extractive if request.schema is None else False
        modes = [
            self._small(member.model) if forced is None else forced for member in settings.members
        ]
        texts = [
            Text(p.n, p.hit.text, p.hit.heading, p.hit.score, p.hit.document_id) for p in passages
        ]
        found = candidates(query, texts)
        likeness = await self._likeness(
            query, [one.embed_text for one in found], owner=request.owner
        )
        ranked = ordered(query, rank(query, texts, found, likeness))
        return Poll(
            settings=settings,
            question=question,
            passages=passages,
            ranked=opening_first(ranked, settings.excerpt_sentences) if whole else ranked,
            modes=tuple(modes),
            schema=request.schema,
            whole=whole,
        )


def _report(
    poll: Poll,
    execution: Execution,
    votes: list[Vote],
    finding: Finding,
    seen: dict[str, float],
    likely: float,
) -> EnsembleReport:
    answer = finding.answer
    return EnsembleReport(
        strategy=poll.settings.strategy,
        execution=execution,
        explanation=finding.explanation,
        answer_value=answer.answer_value if answer else "",
        answer_unit=answer.answer_unit if answer else "",
        is_blank=answer is None,
        ref_id=finding.cited.ref_id,
        agreement=finding.agreement,
        confidence=round(likely if answer else 1 - likely, 4),
        features=seen,
        votes=votes,
        sources=sources(poll.passages, finding.rests_on),
    )


def _blank(counted: Sequence[Counted]) -> bool:
    """Whether more than half of the votes' weight says that there is no answer."""
    votes = [one.vote for one in counted if one.vote.error is None]
    blank = sum(vote.weight for vote in votes if vote.is_blank)
    return bool(votes) and blank > sum(vote.weight for vote in votes) / 2


def _usage(parts: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        cost=sum(part.cost for part in parts),
    )


def _timings(replies: Sequence[Reply], schedule: Plan, ends: Sequence[GenerateEnd]) -> Timings:
    taken = slowest(schedule, {reply.place: reply.timings for reply in replies})
    taken += [end.timings for end in ends]
    return Timings(
        queue_ms=sum(one.queue_ms for one in taken),
        prefill_ms=sum(one.prefill_ms for one in taken),
        decode_ms=sum(one.decode_ms for one in taken),
    )
