"""Tools and their calls between the wire and the engines."""

from collections.abc import Sequence

import msgspec

from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from gateway.schema.tools import (
    AllowedTools,
    FunctionCall,
    FunctionCallDelta,
    FunctionDefinition,
    FunctionName,
    NamedTool,
    ToolCall,
    ToolCallDelta,
)
from models import types

__all__ = ["tool_use", "tools_of", "wire_call", "wire_call_delta"]

NO_PARAMETERS: dict[str, object] = {"type": "object", "properties": {}}


def tools_of(request: ChatRequest) -> tuple[types.Tool, ...]:
    """What the prompt presents; nothing where no tool may be called. Raises BadRequest."""
    if request.functions:
        if request.tools:
            raise BadRequest("'functions' and 'tools' exclude each other.", "functions")
        if request.function_call == "none":
            return ()
        return _tools(request.functions, "functions[{}]")
    if not request.tools or request.tool_choice == "none":
        return ()
    return _tools([tool.function for tool in request.tools], "tools[{}].function")


def tool_use(request: ChatRequest, tools: Sequence[types.Tool]) -> types.ToolUse | None:
    """Which of them may or must be called. Raises BadRequest."""
    names = tuple(tool.name for tool in tools)
    if request.functions:
        if isinstance(request.function_call, FunctionName):
            return _named(request.function_call.name, names, "function_call")
        return types.ToolUse(names, parallel=False) if names else None
    parallel = request.parallel_tool_calls is not False
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, "none", "auto"):
            raise BadRequest("'tool_choice' needs 'tools'.", "tool_choice")
        return None
    if isinstance(choice, NamedTool):
        return _named(choice.function.name, names, "tool_choice")
    if isinstance(choice, AllowedTools):
        allowed = choice.allowed_tools
        chosen = tuple(dict.fromkeys(tool.function.name for tool in allowed.tools))
        for name in chosen:
            _named(name, names, "tool_choice")
        return types.ToolUse(chosen, allowed.mode == "required", parallel)
    return types.ToolUse(names, choice == "required", parallel) if names else None


def wire_call(call: types.CallDelta) -> ToolCall:
    """A whole call."""
    return ToolCall(
        id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments or "{}")
    )


def wire_call_delta(call: types.CallDelta) -> ToolCallDelta:
    """A piece of a call."""
    if not call.id:
        return ToolCallDelta(index=call.index, function=FunctionCallDelta(arguments=call.arguments))
    return ToolCallDelta(
        index=call.index,
        id=call.id,
        type="function",
        function=FunctionCallDelta(name=call.name, arguments=call.arguments),
    )


def _tools(functions: Sequence[FunctionDefinition], place: str) -> tuple[types.Tool, ...]:
    found: dict[str, types.Tool] = {}
    for number, function in enumerate(functions):
        where = place.format(number)
        if function.name in found:
            raise BadRequest(f"Two tools are called '{function.name}'.", f"{where}.name")
        schema = NO_PARAMETERS if function.parameters is None else function.parameters
        if schema.get("type", "object") != "object":
            message = f"'{where}.parameters' must be the schema of an object."
            raise BadRequest(message, f"{where}.parameters")
        parameters = msgspec.json.encode(schema).decode()
        found[function.name] = types.Tool(function.name, function.description or "", parameters)
    return tuple(found.values())


def _named(name: str, names: Sequence[str], param: str) -> types.ToolUse:
    if name not in names:
        raise BadRequest(f"'{param}' names '{name}', which is none of the tools.", param)
    return types.ToolUse((name,), required=True, parallel=False)
