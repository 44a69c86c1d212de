"""Open WebUI's own events in a stream: what is being done, and the sources of an answer."""

from collections.abc import Sequence
from typing import Any

from litestar import Request
from msgspec.structs import replace

from gateway.schema.chat import ChatRequest
from gateway.schema.common import Passages, SourceEvent, SourceName, SourcePlace
from gateway.schema.ensemble import Source

__all__ = ["source_events", "status_line", "task_of", "wants_events", "without_offered_tools"]

FRONT_END = b"x-openwebui-"
TASK = "x-openwebui-task"
TASK_OPENING, TASK_MARK = "### Task:", "<chat_history>"


def wants_events(request: Request[Any, Any, Any], body: ChatRequest) -> bool:
    """Whether the client is Open WebUI, by the headers it can send, or asks for its events."""
    asked = body.ensemble.events if body.ensemble is not None else None
    if isinstance(asked, bool):
        return asked
    return _is_asking(request)


def without_offered_tools(request: Request[Any, Any, Any], body: ChatRequest) -> ChatRequest:
    """A question to an ensemble without the tools that Open WebUI offers beside each one.

    It does so unasked (its clock, notes, memory), and no ensemble calls tools. Where a call of one
    is insisted on, or another client offers some, the request stays, to be refused.
    """
    if not body.tools or body.tool_choice not in (None, "auto", "none") or not _is_asking(request):
        return body
    return replace(body, tools=None, tool_choice=None, parallel_tool_calls=None)


def task_of(request: Request[Any, Any, Any], body: ChatRequest) -> bool:
    """Whether a front-end asks for a title, for tags or the like, and not for an answer.

    It says so in the header X-OpenWebUI-Task ({{TASK}} in its connection settings), or its one
    message reads like the tasks that it writes.
    """
    named = request.headers.get(TASK, "").strip()
    if named and named.lower() not in ("none", "null", "{{task}}"):
        return True
    if len(body.messages) != 1:
        return False
    content = getattr(body.messages[0], "content", None)
    text = content if isinstance(content, str) else ""
    return text.lstrip().startswith(TASK_OPENING) and TASK_MARK in text


def _is_asking(request: Request[Any, Any, Any]) -> bool:
    return any(name.lower().startswith(FRONT_END) for name, _ in request.scope["headers"])


def status_line(text: str) -> str:
    """A step of the deliberation as one line."""
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


def source_events(sources: Sequence[Source]) -> list[SourceEvent]:
    """Every passage, in the order of its number: an inline [n] is the n-th source there is."""
    return [
        SourceEvent(
            data=Passages(
                source=SourceName(id=source.file_id, name=source.filename),
                document=[source.text],
                # Of one name they are shown as one; every passage is to be one of its own.
                metadata=[
                    SourcePlace(source=f"{_place(source)} [{source.n}]", name=_place(source))
                ],
                distances=[min(1.0, max(0.0, source.score))],
            )
        )
        for source in sources
    ]


def _place(source: Source) -> str:
    return source.filename if source.page is None else f"{source.filename}, page {source.page}"
