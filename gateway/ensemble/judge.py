"""A judge reads what the members answered, and the passages, and writes the answer.

A judge that is marked small cannot write; it chooses one of the members' answers instead.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from msgspec import Struct

from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import Cited, compose, url_of
from gateway.ensemble.ground import ground
from gateway.ensemble.prompt import Passage, neutral
from gateway.ensemble.tally import Counted, Finding, Poll
from gateway.schema.ensemble import Annotation, UrlCitation
from models.engine import Engine
from models.errors import ModelError
from models.types import (
    ChatPrompt,
    Constraint,
    GenerateEnd,
    GenerateRequest,
    Message,
    Sampling,
)

__all__ = ["Judgement", "candidates_of", "judge"]

MARK = re.compile(r"\[(\d{1,3})\]")
ASK = (
    "Others have answered this question:\n{candidates}\n\n"
    "They may be wrong. Judge them by the passages, and write the best answer in one to four "
    "sentences. After each fact put the number of the passage it stands in, like [1]. "
    "If the passages do not contain the answer, write only: {decline}"
)
CHOOSE = (
    "Others have answered this question:\n{candidates}\n\n"
    "Which of these answers is right by the passages? Reply with its number alone."
)
MOST_TOKENS = 400


class Judgement(Struct, frozen=True, kw_only=True):
    """What the judge came to, and what it cost. `error`: it failed, and the vote stands."""

    finding: Finding
    end: GenerateEnd | None = None
    error: ModelError | None = None


def candidates_of(counted: Sequence[Counted]) -> list[Counted]:
    """The answers that a judge is shown: each value once, none that is blank or failed."""
    found: dict[str, Counted] = {}
    for one in counted:
        if one.answer is not None and not one.vote.is_blank and one.vote.error is None:
            found.setdefault(_said(one).casefold(), one)
    return list(found.values())


async def judge(
    poll: Poll,
    counted: Sequence[Counted],
    majority: Finding,
    engine: Engine,
    shown: Sequence[Message],
    request: GenerateRequest,
    *,
    small: bool,
) -> AsyncGenerator[str | Judgement, None]:
    """Pieces of the answer as they are written, then the judgement.

    `shown` is the prompt that the members had; `request` has the owner, the tier and the limits.
    """
    candidates = candidates_of(counted)
    listed = "\n".join(f"{n}. {neutral(_said(one))}" for n, one in enumerate(candidates, 1))
    asked = CHOOSE if small else ASK
    text = asked.format(candidates=listed, decline=poll.settings.decline)
    *before, last = shown
    prompt = ChatPrompt((*before, Message(last.role, f"{last.content}\n\n{text}")))
    numbers = "|".join(str(n) for n in range(1, len(candidates) + 1))
    cited = "|".join(str(passage.n) for passage in poll.passages)
    # A writer's brackets hold numbers of passages that were shown, and nothing else.
    regex = f"({numbers})" if small else rf"[^\[\]\s]([^\[\]]|\[({cited})\])*"
    asked_of = msgspec.structs.replace(
        request,
        prompt=prompt,
        max_tokens=4 if small else min(request.max_tokens or MOST_TOKENS, MOST_TOKENS),
        sampling=Sampling(temperature=0.0),
        constraint=Constraint("regex", regex),
        whole=small,
    )
    pieces: list[str] = []
    end: GenerateEnd | None = None
    try:
        async with aclosing(engine.generate(asked_of)) as deltas:
            async for delta in deltas:
                end = delta.end or end
                pieces.append(delta.text)
                if delta.text and not small:
                    yield delta.text
    except ModelError as error:
        if any(pieces) and not small:
            raise  # what was sent cannot be taken back
        yield Judgement(finding=majority, error=error)
        return
    written = "".join(pieces)
    if small:
        finding = _chosen(poll, candidates, written, majority)
        yield finding.cited.text
    else:
        finding = _written(poll, candidates, written, majority)
        rest = finding.cited.text[len(written) :]
        if rest:
            yield rest
    yield Judgement(finding=finding, end=end)


def _chosen(poll: Poll, candidates: Sequence[Counted], written: str, majority: Finding) -> Finding:
    """The candidate that the judge named; the vote's own finding where that stands nowhere."""
    number = int(written) if written.strip().isdigit() else 0
    if not 1 <= number <= len(candidates):
        return majority
    one = candidates[number - 1]
    if one.answer is None or not one.citations:
        return majority
    return Finding(
        cited=compose(one.answer, one.citations, extractive=poll.modes[one.place]),
        answer=one.answer,
        agreement=majority.agreement,
        explanation=f"{majority.explanation} The judge chose that of {one.vote.model}.",
    )


def _written(poll: Poll, candidates: Sequence[Counted], written: str, majority: Finding) -> Finding:
    """The judge's own text; it cites what it says it does, else what bears the value out."""
    decline = poll.settings.decline
    if written.strip().strip(".").casefold() == decline.strip().strip(".").casefold():
        return Finding(
            cited=Cited(written, [], []),
            answer=None,
            agreement=0.0,
            explanation=f"{majority.explanation} The judge finds no answer in the passages.",
        )
    text = written
    by_number = {passage.n: passage for passage in poll.passages}
    value = next((one for one in candidates if _stands(one, written)), None)
    marks = [(found, int(found[1])) for found in MARK.finditer(text)]
    if not marks and value is not None:
        for citation in value.citations:
            text = f"{text} [{citation.passage.n}]"
        marks = [(found, int(found[1])) for found in MARK.finditer(text)]
    annotations = [_annotation(by_number[n], found.start(), found.end()) for found, n in marks]
    documents = dict.fromkeys(by_number[n].hit.document_id for _, n in marks)
    answer = value.answer if value is not None else None
    return Finding(
        cited=Cited(text, annotations, list(documents)),
        answer=MemberAnswer(
            answer_value=answer.answer_value if answer else "",
            answer_unit=answer.answer_unit if answer else "",
            passages=tuple(dict.fromkeys(n for _, n in marks)),
            answer=text,
        ),
        agreement=majority.agreement,
        explanation=f"{majority.explanation} The judge wrote the answer.",
    )


def _said(one: Counted) -> str:
    answer = one.answer
    assert answer is not None
    value = f"{answer.answer_value} {answer.answer_unit}".strip()
    words = " ".join(MARK.sub("", one.vote.answer).split())
    return words if words and ground(answer.answer_value, words) else f"{value}. {words}".strip()


def _stands(one: Counted, text: str) -> bool:
    answer = one.answer
    return answer is not None and bool(ground(answer.answer_value, text, answer.answer_unit))


def _annotation(passage: Passage, start: int, end: int) -> Annotation:
    hit = passage.hit
    title = hit.filename if hit.page is None else f"{hit.filename} (page {hit.page})"
    citation = UrlCitation(start_index=start, end_index=end, title=title, url=url_of(hit.file_id))
    return Annotation(url_citation=citation)
