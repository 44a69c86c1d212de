"""How tokens are drawn, as the wire says it and as the engines take it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.schema.sampling import SamplingParameters
from models import types
from models.settings import SamplingDefaults

__all__ = ["copies", "refuse_contradictions", "sampling_of", "stops_of"]


def sampling_of(
    request: SamplingParameters, defaults: SamplingDefaults, logprobs: int | None
) -> types.Sampling:
    """How the request wants tokens drawn, with the model's own defaults.

    `logprobs` alternatives are reported for each token; None reports none.
    """
    penalty = _repetition_penalty(request)
    top_p: float = _first(request.top_p, defaults.top_p, 1.0)
    return types.Sampling(
        temperature=_first(request.temperature, defaults.temperature, 1.0),
        top_p=top_p,
        # None of the mass is still one token, the likeliest.
        top_k=1 if top_p == 0 else _first(request.top_k, defaults.top_k, 0),
        min_p=_first(request.min_p, defaults.min_p, 0.0),
        seed=0 if request.seed is None and request.deterministic else request.seed,
        typical_p=_first(request.typical_p, defaults.typical_p, 1.0),
        presence_penalty=_first(request.presence_penalty, defaults.presence_penalty, 0.0),
        frequency_penalty=_first(request.frequency_penalty, defaults.frequency_penalty, 0.0),
        repetition_penalty=_first(penalty, defaults.repetition_penalty, 1.0),
        logit_bias=tuple((int(token), bias) for token, bias in (request.logit_bias or {}).items()),
        ignore_eos=bool(request.ignore_eos),
        logprobs=logprobs,
    )


def refuse_contradictions(request: SamplingParameters) -> None:
    """Raise BadRequest for parameters that exclude or need each other."""
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' needs 'stream': true.", "stream_options")
    _repetition_penalty(request)


def stops_of(request: SamplingParameters) -> tuple[str, ...]:
    """The stop strings; a single one is a tuple of one."""
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop)


def copies(request: types.GenerateRequest, count: int) -> Sequence[types.GenerateRequest]:
    """The request so many times, each with its own random stream from the one seed."""
    return [_with_seed(request, number) for number in range(count)]


def _with_seed(request: types.GenerateRequest, number: int) -> types.GenerateRequest:
    seed = request.sampling.seed
    if number == 0 or seed is None:
        return request
    other = (seed + number + 2**63) % 2**64 - 2**63  # stays within 64 bits
    sampling = msgspec.structs.replace(request.sampling, seed=other)
    return msgspec.structs.replace(request, sampling=sampling)


def _repetition_penalty(request: SamplingParameters) -> float | None:
    given = {request.repeat_penalty, request.repetition_penalty} - {None}
    if len(given) > 1:
        raise BadRequest(
            "'repeat_penalty' and 'repetition_penalty' are one thing and differ; give one of them.",
            "repeat_penalty",
        )
    return next(iter(given), None)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
