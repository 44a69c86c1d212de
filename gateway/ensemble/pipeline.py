"""A question to an ensemble, from the search to the verdict."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from gateway.ensemble import say
from gateway.ensemble.cite import sources
from gateway.ensemble.events import Answer, Deliberation, EnsembleRequest, Event, Verdict
from gateway.ensemble.evidence import Text, candidates, rank
from gateway.ensemble.fanout import Reply, ask, most_telling
from gateway.ensemble.members import overridden, questions
from gateway.ensemble.plan import Execution, Plan, plan
from gateway.ensemble.prompt import Conversation, Passage, number_passages, read
from gateway.ensemble.settings import EnsembleSettings, labels
from gateway.ensemble.tally import Counted, Finding, Poll, conclude, count, speaks
from gateway.schema.ensemble import EnsembleReport
from models.engine import Engine
from models.errors import InvalidRequest
from models.types import Timings, Usage
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


class SearchFunction(Protocol):
    """How passages are found. Raises the errors of `retrieval.errors`."""

    def __call__(
        self, query: str, *, owner: str, stores: Sequence[str], limit: int, score_floor: float
    ) -> Awaitable[list[Hit]]: ...


class LikenessFunction(Protocol):
    """How like a question each of some texts is: the cosine similarity of their embeddings."""

    def __call__(
        self, query: str, texts: Sequence[str], *, owner: str
    ) -> Awaitable[Sequence[float]]: ...


class Ensemble:
    """One virtual model. `small` says of a model's id whether its values are to be extracted."""

    def __init__(
        self,
        settings: EnsembleSettings,
        engines: Callable[[str], Engine],
        search: SearchFunction,
        likeness: LikenessFunction,
        small: Callable[[str], bool],
    ) -> None:
        self.settings = settings
        self._engines = engines
        self._search = search
        self._likeness = likeness
        self._small = small

    async def run(self, request: EnsembleRequest) -> AsyncGenerator[Event, None]:
        """Deliberations, then the answer, then the verdict, which is last. Closing it cancels.

        Raises InvalidRequest, the errors of retrieval, and, if every member failed, the one of
        their errors that tells most.
        """
        settings = overridden(self.settings, request.override, self._engines)
        talk = read(request.messages, settings.history_turns, settings.history_chars)
        told: list[str] = []
        async with aclosing(self._deliberate(request, settings, talk)) as steps:
            async for step in steps:
                if isinstance(step, Deliberation):
                    told.append(step.text)
                    yield step
                else:
                    yield Answer(step.text)
                    yield msgspec.structs.replace(step, reasoning="".join(told))

    async def _deliberate(
        self, request: EnsembleRequest, settings: EnsembleSettings, talk: Conversation
    ) -> AsyncGenerator[Deliberation | Verdict, None]:
        began = time.perf_counter()
        passages = await self._find(request.owner, settings, talk.question)
        poll = await self._poll(request.owner, settings, talk.question, passages)
        retrieval_ms = (time.perf_counter() - began) * 1000
        yield Deliberation(say.found(passages, settings))
        schedule = plan([member.model for member in settings.members])
        replies: list[Reply] = []
        counted: list[Counted] = []
        if speaks(poll):
            yield Deliberation(say.asking(labels(settings.members), schedule.execution))
            asked = questions(
                settings, request, talk, passages, poll.ranked, poll.modes, self._engines
            )
            async with aclosing(ask(asked, schedule.waves, settings.timeout_s)) as coming:
                async for reply in coming:
                    replies.append(reply)
                    counted.append(count(poll, reply))
                    yield Deliberation(say.voted(counted[-1].vote))
            errors = [reply.error for reply in replies if reply.error]
            if len(errors) == len(replies):
                raise most_telling(errors)
            counted.sort(key=lambda one: one.place)
        finding = conclude(poll, counted)
        yield Deliberation(say.concluded(finding))
        yield Verdict(
            text=finding.cited.text,
            reasoning="",
            annotations=finding.cited.annotations,
            report=_report(poll, schedule.execution, counted, finding),
            usage=_usage(replies),
            timings=_timings(replies, schedule),
            retrieval_ms=retrieval_ms,
        )

    async def _find(
        self, owner: str, settings: EnsembleSettings, question: str
    ) -> tuple[Passage, ...]:
        if not settings.stores:
            raise InvalidRequest(
                "No vector store to search: name one in ensemble.vector_store_ids.",
                "ensemble.vector_store_ids",
            )
        hits = await self._search(
            question,
            owner=owner,
            stores=settings.stores,
            limit=settings.top_k,
            score_floor=settings.score_floor,
        )
        # A passage without a word (a ruled line, say) can neither be read nor cited.
        return number_passages([hit for hit in hits if any(c.isalnum() for c in hit.text)])

    async def _poll(
        self,
        owner: str,
        settings: EnsembleSettings,
        question: str,
        passages: tuple[Passage, ...],
    ) -> Poll:
        forced = settings.extractive
        modes = [
            self._small(member.model) if forced is None else forced for member in settings.members
        ]
        texts = [
            Text(p.n, p.hit.text, p.hit.heading, p.hit.score, p.hit.document_id) for p in passages
        ]
        found = candidates(question, texts)
        likeness = await self._likeness(question, [one.embed_text for one in found], owner=owner)
        return Poll(
            settings=settings,
            question=question,
            passages=passages,
            ranked=rank(question, texts, found, likeness),
            modes=tuple(modes),
        )


def _report(
    poll: Poll, execution: Execution, counted: Sequence[Counted], finding: Finding
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
        confidence=finding.agreement,  # not calibrated yet: the share that agrees stands in
        votes=[one.vote for one in counted],
        sources=sources(poll.passages),
    )


def _usage(replies: Sequence[Reply]) -> Usage:
    return Usage(
        prompt_tokens=sum(reply.usage.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.usage.completion_tokens for reply in replies),
        cached_tokens=sum(reply.usage.cached_tokens for reply in replies),
        cost=sum(reply.usage.cost for reply in replies),
    )


def _timings(replies: Sequence[Reply], schedule: Plan) -> Timings:
    waves = [[r.timings for r in replies if r.place in wave] for wave in schedule.waves]
    return Timings(
        queue_ms=sum(max((t.queue_ms for t in wave), default=0.0) for wave in waves),
        prefill_ms=sum(max((t.prefill_ms for t in wave), default=0.0) for wave in waves),
        decode_ms=sum(max((t.decode_ms for t in wave), default=0.0) for wave in waves),
    )
