"""A chat request into the engines' terms. What is not built yet is refused here, by name."""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.convert.constraints import constraint_of
from gateway.convert.messages import turns, unsupported
from gateway.convert.sampling import refuse_contradictions, sampling_of, stops_of
from gateway.convert.tools import tool_use, tools_of
from gateway.ensemble.events import EnsembleRequest
from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from models import types
from models.settings import ModelSettings

__all__ = [
    "chat_prompt",
    "ensemble_request",
    "generate_request",
    "max_tokens_of",
    "refuse_unsupported",
]


def _is(*neutral: object) -> Callable[[Any], bool]:
    return lambda value: value in neutral


def _empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _never(value: Any) -> bool:
    return False


# When a parameter that is not built yet says nothing that we do not do anyway.
NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "modalities": _is(["text"]),
    "audio": _never,
    "moderation": _never,
    "web_search_options": _never,
    "store": _is(False),
    "verbosity": _is("medium"),
    "prompt_cache_retention": _is("in_memory"),
    "prompt_cache_options": _empty,
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
    "tools": _empty,
    "tool_choice": _is("none", "auto"),
    "functions": _empty,
    "function_call": _is("none", "auto"),
    "reasoning_effort": _is("none"),
    "chat_template_kwargs": _empty,
}


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise BadRequest for a parameter that would have to be ignored."""
    for name, is_neutral in NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and not is_neutral(value):
            raise unsupported(name)
    refuse_contradictions(request)
    if request.top_logprobs is not None and not request.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", "top_logprobs")
    constraint = constraint_of(request)
    _refuse_beside_tools(request, constraint)
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' differ; give one of them.", "max_tokens"
        )


def chat_prompt(request: ChatRequest) -> types.ChatPrompt:
    """All that the chat template gets. Raises BadRequest."""
    variables = (request.chat_template_kwargs or {}).items()
    return types.ChatPrompt(
        turns(request.messages),
        tools_of(request),
        tuple((name, msgspec.json.encode(value).decode()) for name, value in variables),
        request.reasoning_effort,
    )


def generate_request(
    request: ChatRequest, settings: ModelSettings, owner: str
) -> types.GenerateRequest:
    """A chat request for one model, with the model's own defaults."""
    prompt = chat_prompt(request)
    return types.GenerateRequest(
        prompt=prompt,
        max_tokens=max_tokens_of(request) or settings.max_tokens,
        sampling=sampling_of(
            request,
            settings.sampling,
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        ),
        stop=stops_of(request),
        constraint=constraint_of(request),
        owner=owner,
        whole=not request.stream,
        tool_use=tool_use(request, prompt.tools),
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
    schema = constraint_of(request)
    if schema is not None and schema.kind != "json_schema":
        message = f"'{schema.param}' is not supported by an ensemble."
        raise BadRequest(message, schema.param, "unsupported_parameter")
    return EnsembleRequest(
        messages=turns(request.messages),
        owner=owner,
        override=request.ensemble,
        max_tokens=max_tokens_of(request),
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        flex=request.service_tier == "flex",
        schema=schema.grammar if schema is not None else None,
    )


def max_tokens_of(request: ChatRequest) -> int | None:
    """The limit by either of its names."""
    return request.max_completion_tokens or request.max_tokens


def _refuse_beside_tools(request: ChatRequest, constraint: types.Constraint | None) -> None:
    """A grammar leaves no room for calls; an answer without an end has none."""
    tools = request.tools and request.tool_choice != "none"
    if not tools and not (request.functions and request.function_call != "none"):
        return
    name = "functions" if request.functions else "tools"
    other = "ignore_eos" if request.ignore_eos else None
    if constraint is not None and constraint.kind != "json_schema":
        other = constraint.param
    if other is not None:
        raise BadRequest(f"'{other}' and '{name}' exclude each other.", other)
