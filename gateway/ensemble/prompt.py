"""The members' prompt: one prefix that they all share, then each one's instruction. Pure."""

import re
from collections.abc import Sequence

from msgspec import Struct

from gateway.ensemble.answer import MemberAnswer, encode
from gateway.ensemble.evidence import Sentence
from gateway.ensemble.settings import EnsembleSettings
from models.errors import InvalidRequest
from models.types import ChatPrompt, Message
from retrieval.types import Hit

__all__ = [
    "Conversation",
    "Passage",
    "excerpts",
    "member_prompt",
    "neutral",
    "number_passages",
    "read",
    "shared",
]

# What could be taken for the prompt's own structure: tags, special tokens, passage numbers.
TAG = re.compile(r"<(?=[|/!?\w])")
NUMBER = re.compile(r"^([ \t]*)\[(\d+)\]", re.MULTILINE)
CUT = " …"


class Passage(Struct, frozen=True):
    """A hit, the number it is cited by, and as much of its text as the members are shown."""

    n: int
    hit: Hit
    shown: str


class Conversation(Struct, frozen=True):
    """What the client sent, taken apart. `history` alternates and ends with the assistant."""

    system: str
    history: tuple[Message, ...]
    question: str


def read(messages: Sequence[Message], turns: int, chars: int) -> Conversation:
    """Take the question from the last user turn, and the last `turns` before it as context.

    Raises InvalidRequest where there is no question to answer.
    """
    system = "\n\n".join(m.content.strip() for m in messages if m.role == "system")
    talk = [m for m in messages if m.role in ("user", "assistant") and m.content.strip()]
    if not talk or talk[-1].role != "user":
        raise InvalidRequest(
            "An ensemble answers the last user message; the conversation must end with one.",
            "messages",
        )
    *earlier, last = _joined(talk)
    history = [Message(m.role, _cut(m.content, chars)) for m in earlier[-turns:]] if turns else []
    if history and history[0].role == "assistant":
        del history[0]  # many chat templates insist that the user begins
    return Conversation(system.strip(), tuple(history), last.content.strip())


def number_passages(hits: Sequence[Hit]) -> tuple[Passage, ...]:
    """Number hits by document and place: the same passages make the same prompt."""
    ordered = sorted(hits, key=lambda h: (h.document_id, h.file_id, h.start, h.end, h.chunk_id))
    return tuple(Passage(n, hit, neutral(hit.text)) for n, hit in enumerate(ordered, 1))


def best_of(ranked: Sequence[Sentence], limit: int, margin: float) -> list[Sentence]:
    """At most `limit` sentences, none of which scores less than `margin` times the first."""
    return [s for s in ranked[:limit] if s.score >= margin * ranked[0].score]


def excerpts(
    passages: Sequence[Passage], ranked: Sequence[Sentence], limit: int, margin: float
) -> list[Passage]:
    """The passages with their best sentences only; those with none of them are left out.

    The best are at most `limit`, none of which scores less than `margin` times the first. Where no
    sentence of these passages was ranked, they are shown as they are.
    """
    numbers = {passage.n for passage in passages}
    near = best_of([one for one in ranked if one.n in numbers], limit, margin)
    best = sorted(near, key=lambda sentence: (sentence.n, sentence.start))
    found: list[Passage] = []
    for passage in passages:
        kept = "\n".join(s.text for s in best if s.n == passage.n and s.text)
        if kept:
            found.append(Passage(passage.n, passage.hit, neutral(kept)))
    return found or list(passages)


def shared(
    settings: EnsembleSettings,
    talk: Conversation,
    passages: Sequence[Passage],
    *,
    extractive: bool,
) -> tuple[Message, ...]:
    """Everything up to the members' own instructions. The client's system prompt comes first."""
    prompts = settings.prompts
    system = "\n\n".join(part for part in (talk.system, prompts.system.format()) if part)
    messages = [Message("system", system)] if system else []
    for example in settings.examples:
        shown = prompts.passage.format(n=1, title="", text=example.passage)
        messages.append(Message("user", _user(settings, shown, example.question)))
        answer = MemberAnswer(
            answer_value=example.value,
            answer_unit="" if extractive else example.unit,
            passages=(1,),
            answer=example.answer or example.value,
            explanation=example.explanation,
        )
        messages.append(Message("assistant", encode(answer, extractive, settings.order)))
    blocks = [
        prompts.passage.format(n=p.n, title=neutral(_title(p.hit)), text=p.shown) for p in passages
    ]
    messages += talk.history
    messages.append(Message("user", _user(settings, "\n\n".join(blocks), talk.question)))
    return tuple(messages)


def member_prompt(messages: tuple[Message, ...], instruction: str) -> ChatPrompt:
    """The shared prompt with a member's instruction at its very end."""
    if not instruction:
        return ChatPrompt(messages)
    *before, last = messages
    return ChatPrompt((*before, Message(last.role, f"{last.content}\n{instruction}")))


def neutral(text: str) -> str:
    """Document text that cannot pass for the prompt's own marks or for a model's special tokens."""
    return NUMBER.sub(r"\1(\2)", TAG.sub("‹", text)).strip()


def _user(settings: EnsembleSettings, passages: str, question: str) -> str:
    return settings.prompts.user.format(passages=passages, question=question)


def _title(hit: Hit) -> str:
    return f"{hit.filename}: {hit.heading}" if hit.heading else hit.filename


def _joined(talk: Sequence[Message]) -> list[Message]:
    """Consecutive turns of one speaker made one: chat templates want them to alternate."""
    joined: list[Message] = []
    for message in talk:
        if joined and joined[-1].role == message.role:
            joined[-1] = Message(message.role, f"{joined[-1].content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars].rstrip() + CUT
