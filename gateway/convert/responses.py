"""A response request as the chat request that it is, and what a response repeats of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from gateway.convert.items import messages_of
from gateway.convert.messages import unsupported
from gateway.errors import ApiError, BadRequest, to_api_error
from gateway.schema.chat import ChatRequest
from gateway.schema.ensemble import EnsembleOverride
from gateway.schema.items import StoredItem
from gateway.schema.messages import SystemMessage
from gateway.schema.response_tools import (
    AllowedTools,
    FileSearchChoice,
    FileSearchTool,
    FunctionChoice,
    FunctionTool,
)
from gateway.schema.responses import (
    ConversationRef,
    InputTokensDetails,
    InputTokensRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    OutputTokensDetails,
    Reasoning,
    Response,
    ResponsesRequest,
    ResponseUsage,
    TextFormat,
    TextSettings,
)
from gateway.schema.sampling import JsonSchema, ResponseFormat
from gateway.schema.tools import (
    Allowed,
    AllowedTool,
    FunctionDefinition,
    FunctionName,
    NamedTool,
    Tool,
)
from gateway.schema.tools import AllowedTools as ChatAllowedTools
from gateway.schema.tools import ToolChoice as ChatToolChoice
from models import types

__all__ = [
    "FileSearch",
    "chat_request",
    "conversation_of",
    "file_search_of",
    "is_plain_text",
    "refuse_unsupported",
    "renamed",
    "response_head",
    "searching_ensemble",
    "wire_usage",
]

LOGPROBS = "message.output_text.logprobs"
# What a chat request calls it, and what this API does.
NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
# The rest of the chat's sampling parameters have the same names here.
SAMPLING = (
    "temperature",
    "top_p",
    "seed",
    "stop",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "deterministic",
    "user",
)
NEUTRAL: Mapping[str, Callable[[Any], bool]] = {
    "personality": lambda value: False,
    "max_tool_calls": lambda value: False,
    "prompt": lambda value: False,
    "moderation": lambda value: False,
    "context_management": lambda value: value == [],
    "image": lambda value: value == {},
    "access_programs": lambda value: value == {},
    "prompt_cache_retention": lambda value: value == "in_memory",
    "prompt_cache_options": lambda value: value == {},
}


class FileSearch(NamedTuple):
    """The `file_search` tool of a request, and where it stands there."""

    tool: FileSearchTool
    place: str


def refuse_unsupported(body: InputTokensRequest) -> None:
    """Raise BadRequest for a parameter that would have to be ignored."""
    for name, is_neutral in NEUTRAL.items():
        value = getattr(body, name, None)
        if value is not None and not is_neutral(value):
            raise unsupported(name)
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        raise unsupported("text.verbosity")
    for name in ("summary", "generate_summary"):
        if body.reasoning is not None and getattr(body.reasoning, name) not in (None, "auto"):
            raise unsupported(f"reasoning.{name}")
    if body.conversation is not None and body.previous_response_id is not None:
        message = "'conversation' and 'previous_response_id' exclude each other."
        raise BadRequest(message, "conversation", "mutually_exclusive_parameters")
    if isinstance(body, ResponsesRequest):
        if body.stream_options is not None and not body.stream:
            raise BadRequest("'stream_options' needs 'stream': true.", "stream_options")
        if body.top_logprobs and LOGPROBS not in (body.include or ()):
            message = f"'top_logprobs' needs \"{LOGPROBS}\" in 'include'."
            raise BadRequest(message, "top_logprobs")


def conversation_of(body: InputTokensRequest) -> str | None:
    """The id of the conversation, by either form."""
    given = body.conversation
    return given.id if isinstance(given, ConversationRef) else given


def file_search_of(body: InputTokensRequest) -> FileSearch | None:
    """The search that the request asks for, if its choice of tools allows it. Raises BadRequest."""
    found = [
        FileSearch(tool, f"tools[{number}]")
        for number, tool in enumerate(body.tools or ())
        if isinstance(tool, FileSearchTool)
    ]
    if len(found) > 1:
        message = "There are two file_search tools; name all stores in one."
        raise BadRequest(message, f"{found[1].place}.type")
    match body.tool_choice:
        case FileSearchChoice():
            if not found:
                message = "'tool_choice' names file_search, which is none of the tools."
                raise BadRequest(message, "tool_choice")
            allowed = True
        case AllowedTools(tools=tools):
            allowed = any(tool.type == "file_search" for tool in tools)
        case choice:
            allowed = choice != "none" and not isinstance(choice, FunctionChoice)
    return found[0] if found and allowed else None


def is_plain_text(body: InputTokensRequest) -> bool:
    """Whether the answer is free text, which marks of citations may stand in."""
    return _response_format(body) is None


def chat_request(
    body: InputTokensRequest, items: Sequence[StoredItem], *, stream: bool = False
) -> ChatRequest:
    """The same question as a chat. Raises BadRequest."""
    messages = messages_of(items)
    if body.instructions is not None:
        messages.insert(0, SystemMessage(content=body.instructions))
    if not messages:
        message = "Missing required parameter: 'input'."
        raise BadRequest(message, "input", "missing_required_parameter")
    functions = [_function(tool) for tool in body.tools or () if isinstance(tool, FunctionTool)]
    chat = ChatRequest(
        model=body.model,
        messages=messages,
        stream=stream,
        tools=functions or None,
        tool_choice=_tool_choice(body, functions),
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=_response_format(body),
        reasoning_effort=body.reasoning.effort if body.reasoning is not None else None,
        chat_template_kwargs=body.chat_template_kwargs,
    )
    if not isinstance(body, ResponsesRequest):
        return chat
    tier = body.service_tier
    return replace(
        chat,
        **{name: getattr(body, name) for name in SAMPLING},
        max_completion_tokens=body.max_output_tokens,
        logprobs=LOGPROBS in (body.include or ()) or None,
        top_logprobs=body.top_logprobs or None,
        service_tier=None if tier == "ultrafast" else tier,
        ensemble=body.ensemble,
    )


def searching_ensemble(chat: ChatRequest, search: FileSearch) -> ChatRequest:
    """A request whose ensemble searches what the tool says. Raises BadRequest."""
    tool, place = search
    for name in ("filters", "ranking_options"):
        if getattr(tool, name) is not None:
            param = f"{place}.{name}"
            message = f"'{param}' is not supported by an ensemble."
            raise BadRequest(message, param, "unsupported_parameter")
    given = chat.ensemble or EnsembleOverride()
    if given.vector_store_ids is not UNSET:
        message = f"'ensemble.vector_store_ids' and '{place}' both say what is searched."
        raise BadRequest(message, "ensemble.vector_store_ids")
    changed = replace(given, vector_store_ids=tool.vector_store_ids)
    if tool.max_num_results is not None:
        changed = replace(changed, top_k=tool.max_num_results)
    return replace(chat, ensemble=changed)


def renamed(error: Exception, body: InputTokensRequest) -> ApiError:
    """An error of the chat that a request was made into, in the words of the request."""
    found = to_api_error(error)
    if found.param is None:
        return found
    old = found.param
    head, dot, rest = old.partition(".")
    new = f"{NAMES.get(head, head)}{dot}{rest}"
    if head.startswith("tools[") and rest.startswith("function"):
        # Those of the chat are the functions alone, each in an object of its own.
        places = [n for n, tool in enumerate(body.tools or ()) if isinstance(tool, FunctionTool)]
        number = places[int(head.removeprefix("tools[").removesuffix("]"))]
        new = f"tools[{number}].{rest.removeprefix('function').removeprefix('.')}".rstrip(".")
    elif old == "ensemble.vector_store_ids" and (search := file_search_of(body)) is not None:
        new = f"{search.place}.vector_store_ids"
    found.message = found.message.replace(f"'{old}'", f"'{new}'")
    found.param = new
    return found


def response_head(body: ResponsesRequest, response_id: str, now: int, *, store: bool) -> Response:
    """The response as it begins."""
    conversation = conversation_of(body)
    text_format: TextFormat | None = body.text.format if body.text is not None else None
    head = Response(
        id=response_id,
        created_at=now,
        model=body.model,
        status="in_progress",
        instructions=body.instructions,
        metadata=body.metadata or {},
        parallel_tool_calls=body.parallel_tool_calls is not False,
        temperature=body.temperature,
        tool_choice=body.tool_choice or "auto",
        tools=body.tools or [],
        top_p=body.top_p,
        background=bool(body.background),
        conversation=None if conversation is None else ConversationRef(id=conversation),
        max_output_tokens=body.max_output_tokens,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=Reasoning(effort=body.reasoning.effort if body.reasoning else None),
        safety_identifier=body.safety_identifier,
        service_tier="flex" if body.service_tier == "flex" else "default",
        store=store,
        top_logprobs=body.top_logprobs or 0,
        truncation=body.truncation or "disabled",
        user=body.user,
    )
    if text_format is None:
        return head
    return replace(head, text=TextSettings(format=text_format))


def wire_usage(usage: types.Usage) -> ResponseUsage:
    """Token counts as this API gives them."""
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        cost=usage.cost or UNSET,
    )


def _function(tool: FunctionTool) -> Tool:
    return Tool(
        type="function",
        function=FunctionDefinition(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            strict=tool.strict,
        ),
    )


def _tool_choice(body: InputTokensRequest, functions: Sequence[Tool]) -> ChatToolChoice | None:
    """Of the functions. A search that is made is a tool that was used."""
    searches = file_search_of(body) is not None
    match body.tool_choice:
        case FunctionChoice(name=name):
            return NamedTool(function=FunctionName(name=name))
        case FileSearchChoice():
            return "none" if functions else None
        case AllowedTools(mode=mode, tools=tools):
            names = [tool.name for tool in tools if tool.type == "function"]
            if not names and searches:
                return "none" if functions else None
            allowed = [
                AllowedTool(type="function", function=FunctionName(name=name or ""))
                for name in names
            ]
            return ChatAllowedTools(
                allowed_tools=Allowed(mode="auto" if searches else mode, tools=allowed)
            )
        case "required" if searches:
            return "auto" if functions else None
        case "auto" | "none" if not functions:
            return None
        case choice:
            return choice


def _response_format(body: InputTokensRequest) -> ResponseFormat | None:
    match body.text.format if body.text is not None else None:
        case JsonObjectFormat():
            return ResponseFormat(type="json_object")
        case JsonSchemaFormat() as wanted:
            schema = JsonSchema(name=wanted.name, schema=wanted.schema, strict=wanted.strict)
            return ResponseFormat(type="json_schema", json_schema=schema)
        case _:
            return None
