"""One answer of a gateway, from a stream of chunks or in one piece."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from gateway.schema.ensemble import EnsembleReport

if TYPE_CHECKING:  # as in clients.api
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

__all__ = ["Answer", "Collector", "Listener", "decoded", "whole"]

Listener = Callable[[str], None]


class Answer(Struct, kw_only=True):
    """What came back. `ensemble` and `timings` are as the gateway sent them, or None."""

    model: str = ""
    answer: str = ""
    reasoning: str = ""
    ensemble: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    finish_reason: str | None = None

    def report(self) -> EnsembleReport | None:
        """The ensemble object, read. None where there is none or it is of another version."""
        if self.ensemble is None:
            return None
        try:
            return msgspec.convert(self.ensemble, EnsembleReport)
        except msgspec.ValidationError:
            return None

    def as_json(self) -> bytes:
        """The object that --json prints."""
        return msgspec.json.encode(
            {
                "answer": self.answer,
                "ensemble": self.ensemble,
                "usage": self.usage,
                "timings": self.timings,
                "model": self.model,
            }
        )


class Collector:
    """Builds an Answer from chunks and tells the listeners what each one adds."""

    def __init__(self, on_reasoning: Listener, on_answer: Listener) -> None:
        self._on_reasoning = on_reasoning
        self._on_answer = on_answer
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._answer = Answer()

    def add(self, chunk: "ChatCompletionChunk") -> None:
        """Take the next chunk."""
        answer = self._answer
        answer.model = chunk.model or answer.model
        answer.usage = _usage(chunk.usage) or answer.usage
        answer.ensemble = _extension(chunk.model_extra, "ensemble") or answer.ensemble
        answer.timings = _extension(chunk.model_extra, "timings") or answer.timings
        for choice in chunk.choices:
            answer.finish_reason = choice.finish_reason or answer.finish_reason
            thought = _text(choice.delta.model_extra, "reasoning_content")
            if thought:
                self._reasoning.append(thought)
                self._on_reasoning(thought)
            if choice.delta.content:
                self._content.append(choice.delta.content)
                self._on_answer(choice.delta.content)

    def answer(self) -> Answer:
        """What has come so far; without a finish reason it is not the whole answer."""
        self._answer.reasoning = "".join(self._reasoning)
        self._answer.answer = "".join(self._content)
        return self._answer


def whole(completion: "ChatCompletion") -> Answer:
    """The answer of a request that did not stream."""
    first = completion.choices[0] if completion.choices else None
    return Answer(
        model=completion.model,
        answer=(first.message.content or "") if first else "",
        reasoning=_text(first.message.model_extra, "reasoning_content") if first else "",
        ensemble=_extension(completion.model_extra, "ensemble"),
        usage=_usage(completion.usage),
        timings=_extension(completion.model_extra, "timings"),
        finish_reason=first.finish_reason if first else None,
    )


class _Message(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(Struct):
    """What of a completion's body an answer is made of."""

    choices: Annotated[list[_Choice], Meta(min_length=1)]
    model: str = ""
    ensemble: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None


_BODIES = msgspec.json.Decoder(_Completion)


def decoded(body: bytes) -> Answer:
    """The same from the body itself, which is much faster than through the SDK's types.

    Raises msgspec.DecodeError: it is no completion.
    """
    found = _BODIES.decode(body)
    first = found.choices[0]
    return Answer(
        model=found.model,
        answer=first.message.content or "",
        reasoning=first.message.reasoning_content or "",
        ensemble=found.ensemble,
        usage=found.usage,
        timings=found.timings,
        finish_reason=first.finish_reason,
    )


def _usage(usage: "CompletionUsage | None") -> dict[str, Any] | None:
    return usage.model_dump(exclude_unset=True) if usage is not None else None


def _extension(extra: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    value = (extra or {}).get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _text(extra: dict[str, Any] | None, name: str) -> str:
    value = (extra or {}).get(name)
    return value if isinstance(value, str) else ""
