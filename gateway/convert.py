"""The wire's Structs into the engines' and back. What is not built yet is refused here, by name."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from gateway.ensemble.events import EnsembleRequest
from gateway.errors import BadRequest
from gateway.schema.chat import (
    ChatRequest,
    Logprobs,
    PromptTokensDetails,
    TokenLogprob,
    TopLogprob,
)
from gateway.schema.chat import Usage as WireUsage
from gateway.schema.common import Timings as WireTimings
from gateway.schema.embeddings import MAX_INPUTS, Embedding, EmbeddingRequest
from gateway.schema.messages import AssistantMessage, Message, RefusalPart, TextPart
from models import types
from models.settings import ModelSettings

__all__ = [
    "embedding_items",
    "embedding_rows",
    "ensemble_request",
    "generate_request",
    "max_tokens_of",
    "refuse_unsupported",
    "stops_of",
    "turns",
    "wire_logprobs",
    "wire_timings",
    "wire_usage",
    "with_seed",
]


def _is(*neutral: object) -> Callable[[Any], bool]:
    return lambda value: value in neutral


def _empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _never(value: Any) -> bool:
    return False


# When a parameter that is not built yet says nothing that we do not do anyway.
NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "tools": _empty,
    "tool_choice": _is("none", "auto"),
    "functions": _empty,
    "function_call": _is("none", "auto"),
    "modalities": _is(["text"]),
    "audio": _never,
    "prediction": _never,
    "moderation": _never,
    "web_search_options": _never,
    "store": _is(False),
    "service_tier": _is("auto", "default"),
    "reasoning_effort": _is("none"),
    "verbosity": _is("medium"),
    "prompt_cache_retention": _is("in_memory"),
    "prompt_cache_options": _empty,
    "chat_template_kwargs": _empty,
}


# What an ensemble's members cannot follow.
ENSEMBLE_NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "stop": _empty,
    "top_k": _is(0),
    "min_p": _is(0),
    "typical_p": _is(1),
    "n": _is(1),
    "logprobs": _is(False),
    "logit_bias": _empty,
    "presence_penalty": _is(0),
    "frequency_penalty": _is(0),
    "repeat_penalty": _is(1),
    "repetition_penalty": _is(1),
    "ignore_eos": _is(False),
    "response_format": lambda value: value.type == "text",
}


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise BadRequest for a parameter that would have to be ignored."""
    for name, is_neutral in NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and not is_neutral(value):
            raise _unsupported(name)
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' needs 'stream': true.", "stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", "top_logprobs")
    if request.ignore_eos and _constraint(request) is not None:
        raise BadRequest(
            "'ignore_eos' and 'response_format' exclude each other: JSON has an end.",
            "ignore_eos",
        )
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' differ; give one of them.", "max_tokens"
        )


def turns(messages: list[Message]) -> tuple[types.Message, ...]:
    """Messages reduced to text. Raises BadRequest for content that is not text."""
    return tuple(_turn(message, number) for number, message in enumerate(messages))


def max_tokens_of(request: ChatRequest) -> int | None:
    """The limit by either of its names."""
    return request.max_completion_tokens or request.max_tokens


def stops_of(request: ChatRequest) -> tuple[str, ...]:
    """The stop strings; a single one is a tuple of one."""
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop)


def generate_request(
    request: ChatRequest, settings: ModelSettings, owner: str
) -> types.GenerateRequest:
    """A chat request for one model, with the model's own defaults."""
    defaults = settings.sampling
    penalty = _repetition_penalty(request)
    sampling = types.Sampling(
        temperature=_first(request.temperature, defaults.temperature, 1.0),
        top_p=_first(request.top_p, defaults.top_p, 1.0),
        top_k=_first(request.top_k, defaults.top_k, 0),
        min_p=_first(request.min_p, defaults.min_p, 0.0),
        seed=request.seed,
        typical_p=_first(request.typical_p, defaults.typical_p, 1.0),
        presence_penalty=_first(request.presence_penalty, defaults.presence_penalty, 0.0),
        frequency_penalty=_first(request.frequency_penalty, defaults.frequency_penalty, 0.0),
        repetition_penalty=_first(penalty, defaults.repetition_penalty, 1.0),
        logit_bias=tuple((int(token), bias) for token, bias in (request.logit_bias or {}).items()),
        ignore_eos=bool(request.ignore_eos),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    return types.GenerateRequest(
        prompt=types.ChatPrompt(turns(request.messages)),
        max_tokens=max_tokens_of(request) or settings.max_tokens,
        sampling=sampling,
        stop=stops_of(request),
        constraint=_constraint(request),
        owner=owner,
        whole=not request.stream,
    )


def ensemble_request(request: ChatRequest, owner: str) -> EnsembleRequest:
    """A chat request for an ensemble. Raises BadRequest for what its members cannot follow."""
    for name, is_neutral in ENSEMBLE_NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and not is_neutral(value):
            message = f"'{name}' is not supported by an ensemble."
            raise BadRequest(message, name, "unsupported_parameter")
    return EnsembleRequest(
        messages=turns(request.messages),
        owner=owner,
        override=request.ensemble,
        max_tokens=max_tokens_of(request),
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
    )


def with_seed(request: types.GenerateRequest, number: int) -> types.GenerateRequest:
    """The request for choice `number` of several: its own random stream, from the one seed."""
    seed = request.sampling.seed
    if number == 0 or seed is None:
        return request
    other = (seed + number + 2**63) % 2**64 - 2**63  # stays within 64 bits
    sampling = msgspec.structs.replace(request.sampling, seed=other)
    return msgspec.structs.replace(request, sampling=sampling)


def wire_logprobs(found: Sequence[types.TokenLogprob]) -> Logprobs:
    """Log probabilities as OpenAI gives them."""
    return Logprobs(
        content=[
            TokenLogprob(
                **_token(each.piece, each.logprob),
                top_logprobs=[TopLogprob(**_token(*other)) for other in each.top],
            )
            for each in found
        ]
    )


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    text = piece.decode("utf-8", "replace")
    return {"token": text, "logprob": logprob, "bytes": list(piece)}


def _repetition_penalty(request: ChatRequest) -> float | None:
    given = {request.repeat_penalty, request.repetition_penalty} - {None}
    if len(given) > 1:
        raise BadRequest(
            "'repeat_penalty' and 'repetition_penalty' are one thing and differ; give one of them.",
            "repeat_penalty",
        )
    return next(iter(given), None)


def _constraint(request: ChatRequest) -> types.Constraint | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return types.Constraint("json_schema", '{"type":"object"}')
    if wanted.json_schema is None:
        message = "'response_format' of type json_schema needs 'json_schema'."
        raise BadRequest(message, "response_format.json_schema")
    schema = wanted.json_schema.schema
    if schema is msgspec.UNSET:
        raise BadRequest("A schema is missing.", "response_format.json_schema.schema")
    return types.Constraint("json_schema", msgspec.json.encode(schema).decode())


def wire_usage(usage: types.Usage) -> WireUsage:
    """Token counts as OpenAI gives them."""
    return WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def wire_timings(
    usage: types.Usage, timings: types.Timings, retrieval_ms: float = 0.0
) -> WireTimings:
    """The `timings` extension."""
    return WireTimings(
        queue_ms=_round(timings.queue_ms),
        retrieval_ms=_round(retrieval_ms),
        prefill_ms=_round(timings.prefill_ms),
        decode_ms=_round(timings.decode_ms),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
    )


def embedding_items(request: EmbeddingRequest) -> tuple[str | tuple[int, ...], ...]:
    """The inputs one by one. Raises BadRequest for an empty or mixed list."""
    given = request.input
    if isinstance(given, str):
        items: list[str | tuple[int, ...]] = [given]
    elif all(isinstance(item, int) for item in given):
        items = [tuple(cast("list[int]", given))]
    elif all(isinstance(item, str) for item in given):
        items = list(cast("list[str]", given))
    elif all(isinstance(item, list) for item in given):
        items = [tuple(item) for item in cast("list[list[int]]", given)]
    else:
        raise BadRequest("'input' mixes texts and token ids.", "input", "invalid_value")
    if len(items) > MAX_INPUTS:
        message = f"'input' has {len(items)} items; at most {MAX_INPUTS} are taken."
        raise BadRequest(message, "input", "invalid_value")
    if not all(items):
        raise BadRequest("'input' must not be empty.", "input", "invalid_value")
    return tuple(items)


def embedding_rows(
    result: types.EmbedResult, dimensions: int | None, encoding: str | None
) -> list[Embedding]:
    """The vectors, cut to `dimensions` and brought back to unit length. Raises BadRequest."""
    rows = np.frombuffer(result.vectors, dtype="<f4").reshape(-1, result.dimension)
    if dimensions is not None and dimensions > result.dimension:
        message = f"'dimensions' is {dimensions}; this model's vectors have {result.dimension}."
        raise BadRequest(message, "dimensions", "invalid_value")
    if dimensions is not None and dimensions < result.dimension:
        rows = rows[:, :dimensions]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = (rows / np.maximum(lengths, np.finfo(np.float32).tiny)).astype("<f4")
    if encoding == "base64":
        return [
            Embedding(index=number, embedding=base64.b64encode(row.tobytes()).decode())
            for number, row in enumerate(rows)
        ]
    return [Embedding(index=number, embedding=row.tolist()) for number, row in enumerate(rows)]


def _turn(message: Message, number: int) -> types.Message:
    place = f"messages[{number}]"
    if isinstance(message, AssistantMessage):
        _refuse_assistant_extras(message, place)
    role = cast("Any", message).__struct_config__.tag
    text = _text(message.content, f"{place}.content")
    return types.Message("system" if role == "developer" else role, text)


def _refuse_assistant_extras(message: AssistantMessage, place: str) -> None:
    for name in ("audio", "tool_calls", "function_call"):
        if not _empty(getattr(message, name)):
            raise _unsupported(f"{place}.{name}")


def _text(content: Any, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    found: list[str] = []
    for number, part in enumerate(content):
        if isinstance(part, TextPart):
            found.append(part.text)
        elif isinstance(part, RefusalPart):
            found.append(part.refusal)
        else:
            kind = part.__struct_config__.tag
            message = f"'{place}[{number}]' is of type '{kind}'; only text is supported yet."
            raise BadRequest(message, f"{place}[{number}].type", "unsupported_parameter")
    return "".join(found)


def _unsupported(name: str) -> BadRequest:
    return BadRequest(f"'{name}' is not supported yet.", name, "unsupported_parameter")


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _round(milliseconds: float) -> float:
    return round(milliseconds, 3) if math.isfinite(milliseconds) else 0.0
