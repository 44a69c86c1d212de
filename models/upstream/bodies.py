"""Requests as another server's API has them. Pure; what it cannot be told is refused by name."""

import json
from collections.abc import Mapping
from typing import Any, cast

from models.errors import InvalidRequest, Unsupported
from models.types import (
    ChatPrompt,
    Constraint,
    GenerateRequest,
    Message,
    Sampling,
    TextPrompt,
    ToolUse,
)
from models.upstream.dialects import Dialect

__all__ = ["chat_messages", "generation", "tools_of"]

Body = dict[str, Any]
NEUTRAL = Sampling()
# Those that every server knows, with OpenAI's names; all are neutral where they are left out.
COMMON = ("presence_penalty", "frequency_penalty")
EXTRA = ("top_k", "min_p", "typical_p", "repetition_penalty", "ignore_eos")


def generation(request: GenerateRequest, model: str, dialect: Dialect) -> tuple[str, Body]:
    """The path below the server's URL, and the body. Raises Unsupported, InvalidRequest."""
    prompt = request.prompt
    body: Body = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if isinstance(prompt, ChatPrompt):
        path, limit = "chat/completions", dialect.max_tokens
        body["messages"] = chat_messages(prompt, dialect)
        body |= _chat_only(prompt, request.tool_use, dialect)
    else:
        path, limit = "completions", "max_tokens"
        if isinstance(prompt, TextPrompt):
            body["prompt"] = prompt.text
            body |= _suffix(prompt.suffix, dialect)
        else:
            body["prompt"] = _token_ids(prompt.tokens)
    if request.max_tokens is not None:
        body[limit] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    body |= _sampling(request.sampling, dialect)
    body |= _logprobs(request.sampling.logprobs, chat=isinstance(prompt, ChatPrompt))
    if request.constraint is not None:
        body |= _constraint(request.constraint, dialect)
    if request.deterministic:
        if not dialect.deterministic:
            raise _unknown("deterministic")
        body["deterministic"] = True
    # Elsewhere all work is of one tier: it is served as usual.
    if request.flex and dialect.flex and isinstance(prompt, ChatPrompt):
        body["service_tier"] = "flex"
    return path, body


def chat_messages(prompt: ChatPrompt, dialect: Dialect) -> list[Body]:
    """The turns; thoughts of earlier ones go only to servers that have a place for them."""
    return [_message(message, dialect) for message in prompt.messages]


def tools_of(prompt: ChatPrompt, names: tuple[str, ...] | None = None) -> list[Body]:
    """Functions as the wire has them; `names` are those that may be called, None all."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(tool.parameters),
            },
        }
        for tool in prompt.tools
        if names is None or tool.name in names
    ]


def _message(message: Message, dialect: Dialect) -> Body:
    found: Body = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["content"] = message.content or None
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        found["tool_call_id"] = message.tool_call_id
    elif message.name:
        found["name"] = message.name
    if message.reasoning and dialect.template:
        found["reasoning_content"] = message.reasoning
    return found


def _chat_only(prompt: ChatPrompt, use: ToolUse | None, dialect: Dialect) -> Body:
    found: Body = {}
    if prompt.tools and use is not None:
        # A tool that may not be called is not offered, and the only one offered is not named:
        # not every server knows such choices.
        found["tools"] = tools_of(prompt, use.names)
        if use.required:
            found["tool_choice"] = "required"
        if not use.parallel:
            found["parallel_tool_calls"] = False
    if prompt.variables:
        if not dialect.template:
            raise _unknown("chat_template_kwargs")
        found["chat_template_kwargs"] = {
            name: json.loads(value) for name, value in prompt.variables
        }
    if prompt.effort is not None:
        found["reasoning_effort"] = prompt.effort
    return found


def _suffix(text: str, dialect: Dialect) -> Body:
    if not text:
        return {}
    if not dialect.suffix:
        raise _unknown("suffix")
    return {"suffix": text}


def _sampling(sampling: Sampling, dialect: Dialect) -> Body:
    found: Body = {}
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if top_p == 0:  # the likeliest token alone, which every server knows as temperature 0
        temperature, top_p, top_k = 0.0, 1.0, 0
    for name, value in (("temperature", temperature), ("top_p", top_p)):
        if dialect.explicit or value != 1.0:
            found[name] = value
    for name in COMMON:
        if getattr(sampling, name):
            found[name] = getattr(sampling, name)
    for name in EXTRA:
        value = top_k if name == "top_k" else getattr(sampling, name)
        neutral = value == getattr(NEUTRAL, name)
        if name in dialect.sampling:
            if dialect.explicit or not neutral:
                found[dialect.sampling[name]] = value
        elif not neutral:
            raise _unknown(name)
    if sampling.seed is not None:
        found["seed"] = sampling.seed % 2**32  # more bits than these not every server takes
    if sampling.logit_bias:
        found["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return found


def _logprobs(wanted: int | None, *, chat: bool) -> Body:
    if wanted is None:
        return {}
    if not chat:
        return {"logprobs": max(1, wanted)}  # to some servers 0 means none at all
    return {"logprobs": True, "top_logprobs": wanted} if wanted else {"logprobs": True}


def _constraint(constraint: Constraint, dialect: Dialect) -> Body:
    kind, text = constraint.kind, constraint.grammar
    if kind not in dialect.constraints:
        name = constraint.param or ("regex" if kind == "regex" else "grammar")
        raise _unknown(name, f" of kind {kind}")
    if kind == "json_schema":
        return {"response_format": _response_format(text)}
    name = "regex" if kind == "regex" else "grammar"
    match dialect.grammar:
        case "structured_outputs":
            return {"structured_outputs": {name: text}}
        case "tagged":
            return {name: text if kind == "regex" else {"type": kind, "value": text}}
        case "text":
            return {name: text}


def _response_format(text: str) -> Mapping[str, object]:
    try:
        schema: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The schema is not JSON: {error}", "response_format") from error
    if not isinstance(schema, (dict, bool)):
        raise InvalidRequest("A schema is an object or a boolean.", "response_format")
    if schema == {"type": "object"}:
        return {"type": "json_object"}
    # Strict: what the server cannot keep it refuses, as our own engines do.
    wanted: Body = {"name": "answer", "schema": cast("object", schema), "strict": True}
    return {"type": "json_schema", "json_schema": wanted}


def _token_ids(tokens: tuple[int, ...]) -> list[int]:
    for token in tokens:
        if token < 0:
            raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "prompt")
    return list(tokens)


def _unknown(name: str, more: str = "") -> Unsupported:
    return Unsupported(f"This model's server does not know '{name}'{more}.", name)
