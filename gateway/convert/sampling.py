"""How tokens are drawn, as the wire says it and as the engines take it."""

from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from models import types
from models.settings import SamplingDefaults

__all__ = ["constraint_of", "sampling_of", "stops_of", "with_seed"]


def sampling_of(request: ChatRequest, defaults: SamplingDefaults) -> types.Sampling:
    """How the request wants tokens drawn, with the model's own defaults."""
    penalty = _repetition_penalty(request)
    return types.Sampling(
        temperature=_first(request.temperature, defaults.temperature, 1.0),
        top_p=_first(request.top_p, defaults.top_p, 1.0),
        top_k=_first(request.top_k, defaults.top_k, 0),
        min_p=_first(request.min_p, defaults.min_p, 0.0),
        seed=0 if request.seed is None and request.deterministic else request.seed,
        typical_p=_first(request.typical_p, defaults.typical_p, 1.0),
        presence_penalty=_first(request.presence_penalty, defaults.presence_penalty, 0.0),
        frequency_penalty=_first(request.frequency_penalty, defaults.frequency_penalty, 0.0),
        repetition_penalty=_first(penalty, defaults.repetition_penalty, 1.0),
        logit_bias=tuple((int(token), bias) for token, bias in (request.logit_bias or {}).items()),
        ignore_eos=bool(request.ignore_eos),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def constraint_of(request: ChatRequest) -> types.Constraint | None:
    """What the answer must follow, if anything."""
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


def stops_of(request: ChatRequest) -> tuple[str, ...]:
    """The stop strings; a single one is a tuple of one."""
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop)


def with_seed(request: types.GenerateRequest, number: int) -> types.GenerateRequest:
    """The request for choice `number` of several: its own random stream, from the one seed."""
    seed = request.sampling.seed
    if number == 0 or seed is None:
        return request
    other = (seed + number + 2**63) % 2**64 - 2**63  # stays within 64 bits
    sampling = msgspec.structs.replace(request.sampling, seed=other)
    return msgspec.structs.replace(request, sampling=sampling)


def _repetition_penalty(request: ChatRequest) -> float | None:
    given = {request.repeat_penalty, request.repetition_penalty} - {None}
    if len(given) > 1:
        raise BadRequest(
            "'repeat_penalty' and 'repetition_penalty' are one thing and differ; give one of them.",
            "repeat_penalty",
        )
    return next(iter(given), None)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
