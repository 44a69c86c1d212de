"""How likely the winning value is to a model that sees the passages, and to one that does not.

A value that the passages say is much likelier with them; one that would have come anyway, or that
fits no better for them, is not borne out. No token is drawn: the value is given, and scored.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from msgspec import Struct

from gateway.ensemble.likelihood import OPENING, log_likelihood_of
from gateway.ensemble.prompt import Conversation, Passage, excerpts, shared
from gateway.ensemble.tally import Finding, Poll
from models.engine import Engine
from models.errors import ModelError
from models.types import ChatPrompt, GenerateDelta, GenerateRequest, Sampling, TokenLogprob, Usage

__all__ = ["Contrast", "contrast"]

SPAN = 10.0  # nats a token: a value that is so unlikely is as good as impossible


class Contrast(Struct, frozen=True, kw_only=True):
    """Mean log probabilities of a value's tokens, in nats, at most 0; `usage` is what it took."""

    shown: float
    alone: float
    usage: Usage

    @property
    def features(self) -> dict[str, float]:
        """As features, each from 0 to 1: with the passages, without, and the lift they give."""
        return {
            "shown": 1 + self.shown / SPAN,
            "alone": 1 + self.alone / SPAN,
            "lift": (self.shown - self.alone) / SPAN,
        }


async def contrast(
    poll: Poll,
    talk: Conversation,
    finding: Finding,
    engines: Callable[[str], Engine],
    owner: str,
    *,
    flex: bool,
) -> Contrast | None:
    """The winner's value, scored by the first member's model.

    None where there is nothing to score, or the model cannot: no answer fails for this.
    """
    settings = poll.settings
    if not settings.contrast or finding.answer is None or poll.schema is not None:
        return None
    extractive = poll.modes[0]
    passages: Sequence[Passage] = poll.passages
    if extractive:
        limit, margin = settings.excerpt_sentences, settings.excerpt_margin
        passages = excerpts(passages, poll.ranked, limit, margin)
    given = OPENING.decode() + json.dumps(finding.answer.answer_value, ensure_ascii=False)
    requests = [
        GenerateRequest(
            prompt=ChatPrompt(shared(settings, talk, seen, extractive=extractive)),
            sampling=Sampling(logprobs=0),
            owner=owner,
            whole=True,
            flex=flex,
            continuation=given,
        )
        for seen in (passages, ())
    ]
    try:
        engine = engines(settings.members[0].model)
        if engine.stats().state != "ready":
            return None  # others had their turn in its memory: a load would cost more than it tells
        async with asyncio.timeout(settings.timeout_s):
            (shown, one), (alone, other) = await asyncio.gather(
                *(_scored(engine.generate(request)) for request in requests)
            )
    except (ModelError, TimeoutError):
        return None
    if shown is None or alone is None:
        return None
    usage = Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
    )
    return Contrast(shown=shown, alone=alone, usage=usage)


async def _scored(answer: AsyncGenerator[GenerateDelta, None]) -> tuple[float | None, Usage]:
    tokens: list[TokenLogprob] = []
    usage = Usage()
    async with aclosing(answer) as deltas:
        async for delta in deltas:
            tokens += delta.logprobs
            usage = delta.end.usage if delta.end else usage
    return log_likelihood_of(tokens), usage
