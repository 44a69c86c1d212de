"""Who is asked, and what: the request's changes applied, one generation request for each member."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from gateway.ensemble.answer import AnswerError, Ending, ending, extractive_grammar, json_schema
from gateway.ensemble.events import EnsembleRequest
from gateway.ensemble.evidence import Sentence, asked_about, expects_number, says_nothing_new
from gateway.ensemble.fanout import Question, seed_for
from gateway.ensemble.prompt import Conversation, Passage, excerpts, member_prompt, shared
from gateway.ensemble.settings import EnsembleSettings, Member, labels
from gateway.schema.ensemble import EnsembleOverride
from models.engine import Engine
from models.errors import InvalidRequest, ModelError, ModelNotFound, Unsupported
from models.types import Constraint, GenerateRequest, Message, Sampling

__all__ = ["overridden", "questions"]

TOKENS_PER_WORD = 8  # of an extracted value; codes and addresses take many
FRAME_TOKENS = 32  # the JSON around a value
CHARS_PER_TOKEN = 2  # of a written answer, where languages differ

# Settings that a request's own replace as they are.
AS_SET = (
    "top_k",
    "contrast",
    "early_stop",
    "deliberation",
    "score_floor",
    "evidence_floor",
    "missing_names",
    "missing_kind",
    "confidence_floor",
    "excerpt_sentences",
    "excerpt_margin",
    "whole_phrases",
    "extractive",
    "order",
)


class _Prepared(NamedTuple):
    """What all members of one kind are asked."""

    messages: tuple[Message, ...]
    constraint: Constraint
    passages: tuple[int, ...] = ()
    plainer: Constraint | None = None
    ending: Ending | None = None


def overridden(
    settings: EnsembleSettings,
    override: EnsembleOverride | None,
    engines: Callable[[str], Engine],
) -> EnsembleSettings:
    """The settings with a request's own. Members are named by their labels or by a model's id.

    Raises InvalidRequest.
    """
    if override is None:
        return settings
    changes: dict[str, object] = {}
    if override.members is not UNSET:
        changes["members"] = _chosen(settings, override.members, engines)
        changes["quorum"] = min(settings.quorum, len(override.members))
        changes["tools_member"] = ""
    if override.strategy is not UNSET:
        changes["strategy"] = override.strategy
    if override.vector_store_ids is not UNSET:
        changes["stores"] = tuple(override.vector_store_ids)
    for name in AS_SET:
        value = getattr(override, name)
        if value is not UNSET:
            changes[name] = value
    if override.score_floor is not UNSET:
        changes["second_floor"] = override.score_floor  # no search goes below the request's own
    if override.examples is False:
        changes["examples"] = ()
    try:
        return msgspec.structs.replace(settings, **changes)
    except ValueError as error:
        raise InvalidRequest(f"{error}.", "ensemble.members") from error


def questions(
    settings: EnsembleSettings,
    request: EnsembleRequest,
    talk: Conversation,
    passages: Sequence[Passage],
    ranked: Sequence[Sentence],
    modes: Sequence[bool],
    engines: Callable[[str], Engine],
) -> list[Question]:
    """What each member is asked; `modes` says which of them are extractive."""
    prepared: dict[bool, _Prepared] = {}
    for extractive in set(modes):
        shown = passages
        if request.schema is not None:
            # Worked examples show another format than the one that is asked for.
            plain = msgspec.structs.replace(settings, examples=())
            messages = shared(plain, talk, shown, extractive=False)
            prepared[extractive] = _Prepared(messages, Constraint("json_schema", request.schema))
            continue
        if extractive:
            limit, margin = settings.excerpt_sentences, settings.excerpt_margin
            shown = excerpts(passages, ranked, limit, margin)
        prepared[extractive] = _Prepared(
            shared(settings, talk, shown, extractive=extractive),
            _constraint(settings, talk.question, shown, extractive),
            tuple(passage.n for passage in passages),
            _plainer(settings, shown) if extractive else None,
            _ending(settings, shown, extractive),
        )
    asked: list[Question] = []
    for place, (member, extractive) in enumerate(zip(settings.members, modes, strict=True)):
        messages, constraint, numbers, plainer, ends = prepared[extractive]
        max_tokens = _max_tokens(settings, member, request, extractive)
        asked.append(
            Question(
                engine=_engine(member.model, engines),
                passages=numbers,
                free=request.schema is not None,
                plainer=plainer,
                ending=ends,
                limited=max_tokens == request.max_tokens,
                request=GenerateRequest(
                    prompt=member_prompt(messages, member.instruction),
                    max_tokens=max_tokens,
                    sampling=_sampling(settings, member, request, place),
                    stop=(ends.stop,) if ends else (),
                    constraint=constraint,
                    owner=request.owner,
                    whole=True,
                    flex=request.flex,
                ),
            )
        )
    return asked


def _chosen(
    settings: EnsembleSettings, names: Sequence[str], engines: Callable[[str], Engine]
) -> tuple[Member, ...]:
    by_label = dict(zip(labels(settings.members), settings.members, strict=True))
    chosen: list[Member] = []
    for place, name in enumerate(names):
        member = by_label.get(name)
        before = names[:place].count(name)
        if member is None:
            try:
                engines(name)
            except ModelNotFound as error:
                raise InvalidRequest(
                    f"'{name}' is neither a member of this ensemble nor a model.",
                    "ensemble.members",
                ) from error
            except Unsupported as error:
                raise Unsupported(str(error), "ensemble.members") from error
            member = Member(model=name)
        elif before:  # named again it answers again, with another seed
            member = msgspec.structs.replace(member, name=f"{name}#{before + 1}", seed=None)
        chosen.append(member)
    return tuple(chosen)


def _engine(model: str, engines: Callable[[str], Engine]) -> Engine | ModelError:
    try:
        return engines(model)
    except ModelError as error:
        return error


def _constraint(
    settings: EnsembleSettings, question: str, shown: Sequence[Passage], extractive: bool
) -> Constraint:
    if not extractive:
        numbers = [passage.n for passage in shown]
        return Constraint(
            "json_schema", json_schema(numbers, settings.max_answer_chars, settings.order)
        )
    texts = [(passage.n, passage.shown) for passage in shown]
    words = settings.max_value_words
    try:
        grammar = extractive_grammar(
            texts,
            words,
            figure=expects_number(question),
            barred=asked_about(question),
            idle=says_nothing_new(question),
        )
    except AnswerError:  # the passages say nothing but the question's own figures
        return _plainer(settings, shown)
    return Constraint("lark", grammar)


def _plainer(settings: EnsembleSettings, shown: Sequence[Passage]) -> Constraint:
    """Any words of the passages, whatever the question."""
    texts = [(passage.n, passage.shown) for passage in shown]
    return Constraint("lark", extractive_grammar(texts, settings.max_value_words))


def _ending(
    settings: EnsembleSettings, shown: Sequence[Passage], extractive: bool
) -> Ending | None:
    if not settings.early_stop:
        return None
    numbers = [passage.n for passage in shown]
    return ending(numbers, extractive=extractive, order=settings.order)


def _max_tokens(
    settings: EnsembleSettings, member: Member, request: EnsembleRequest, extractive: bool
) -> int | None:
    asked = request.max_tokens
    if request.schema is not None:  # how long its JSON gets, only the schema's author knows
        return min((n for n in (member.max_tokens, asked) if n), default=None)
    if extractive:
        needed = FRAME_TOKENS + TOKENS_PER_WORD * settings.max_value_words
    else:
        needed = 4 * FRAME_TOKENS + 2 * settings.max_answer_chars // CHARS_PER_TOKEN
    return min(needed, member.max_tokens or needed, asked or needed)


def _sampling(
    settings: EnsembleSettings, member: Member, request: EnsembleRequest, place: int
) -> Sampling:
    return Sampling(
        temperature=member.temperature if request.temperature is None else request.temperature,
        top_p=member.top_p if request.top_p is None else request.top_p,
        top_k=member.top_k,
        min_p=member.min_p,
        seed=seed_for(request.seed, place) if member.seed is None else member.seed,
        logprobs=0 if settings.weighs_likelihood else None,
    )
