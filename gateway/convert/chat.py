"""A chat request into the engines' terms. What is not built yet is refused here, by name."""

from collections.abc import Callable
from typing import Any

from gateway.convert.messages import turns, unsupported
from gateway.convert.sampling import constraint_of, sampling_of, stops_of
from gateway.ensemble.events import EnsembleRequest
from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from models import types
from models.settings import ModelSettings

__all__ = ["ensemble_request", "generate_request", "max_tokens_of", "refuse_unsupported"]


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
    "deterministic": _is(False),
    "response_format": lambda value: value.type == "text",
}


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise BadRequest for a parameter that would have to be ignored."""
    for name, is_neutral in NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and not is_neutral(value):
            raise unsupported(name)
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' needs 'stream': true.", "stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", "top_logprobs")
    if request.ignore_eos and constraint_of(request) is not None:
        raise BadRequest(
            "'ignore_eos' and 'response_format' exclude each other: JSON has an end.",
            "ignore_eos",
        )
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' differ; give one of them.", "max_tokens"
        )


def generate_request(
    request: ChatRequest, settings: ModelSettings, owner: str
) -> types.GenerateRequest:
    """A chat request for one model, with the model's own defaults."""
    return types.GenerateRequest(
        prompt=types.ChatPrompt(turns(request.messages)),
        max_tokens=max_tokens_of(request) or settings.max_tokens,
        sampling=sampling_of(request, settings.sampling),
        stop=stops_of(request),
        constraint=constraint_of(request),
        owner=owner,
        whole=not request.stream,
        flex=request.service_tier == "flex",
        deterministic=bool(request.deterministic),
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
        flex=request.service_tier == "flex",
    )


def max_tokens_of(request: ChatRequest) -> int | None:
    """The limit by either of its names."""
    return request.max_completion_tokens or request.max_tokens
