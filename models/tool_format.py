"""How a model writes tool calls and its thoughts, read off its own chat template. Pure.

A template shows how the calls of earlier turns were written, and so were those that the model was
trained on. Rendering two made-up calls and looking at what stands around their names and arguments
gives the format of every family whose arguments are JSON: Hermes and Qwen, Llama 3, Mistral,
DeepSeek and others. Where a template knows no tools, the model is told how to write calls as JSON.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["GEMMA", "GENERIC", "Reasoning", "ToolFormat", "derive", "flatten", "reasoning_of"]

Render = Callable[[Sequence[dict[str, Any]]], str]

# What the probe calls. Ids as Mistral's templates demand them: nine letters or digits.
FIRST, SECOND = ("probeOne", {"keyOne": 7}, "a1b2c3d4e"), ("probeTwo", {"keyTwo": "x"}, "f5g6h7i8j")
CONTENT = "zqContentProbe"


@dataclass(frozen=True)
class ToolFormat:
    """A call is `opening` name `middle` arguments `closing`.

    `between` stands in the place of closing and opening between two calls; None: only one is made.
    `marker` begins every opening and nothing else; without one, calls stand at the very beginning
    of the answer, where they may be fenced. In `middle` an id of the call may follow `id_mark`.
    """

    opening: str
    middle: str
    closing: str
    between: str | None
    marker: str = ""
    id_mark: str = ""
    fences: tuple[tuple[str, str], ...] = ()
    native: bool = True  # the template itself presents the tools

    @property
    def short_ids(self) -> bool:
        """Mistral's templates take ids of nine letters and digits only."""
        return self.marker == "[TOOL_CALLS]"


@dataclass(frozen=True)
class Reasoning:
    """What stands before and after a model's thoughts."""

    opening: str
    closing: str


GENERIC = ToolFormat(
    opening='{"name": "',
    middle='", "arguments": ',
    closing="}",
    between='}\n{"name": "',
    fences=(("```json\n", "\n```"), ("```\n", "\n```")),
    native=False,
)
# As Google documents it for Gemma 3.
GEMMA = ToolFormat(
    opening='{"name": "',
    middle='", "parameters": ',
    closing="}",
    between='}\n{"name": "',
    fences=(("```json\n", "\n```"), ("```tool_code\n", "\n```"), ("```\n", "\n```")),
    native=False,
)
REASONING = (
    Reasoning("<think>", "</think>"),
    Reasoning("[THINK]", "[/THINK]"),
    Reasoning("<seed:think>", "</seed:think>"),
    Reasoning("<|START_THINKING|>", "<|END_THINKING|>"),
    Reasoning("<|channel>thought", "<channel|>"),
)
# What an opening begins with if text never does: a tag, or a word in brackets.
TAG = re.compile(r"<[^<>\s]{2,}>|\[[A-Z_]{3,}\]")


def derive(source: str, render: Render, ends: Sequence[str]) -> ToolFormat:
    """The format of a template; `render` renders messages, `ends` are texts that end a turn.

    Never fails: what cannot be read off is written as plain JSON.
    """
    fallback = GEMMA if "<start_of_turn>" in source else GENERIC
    for calls in ((FIRST, SECOND), (FIRST,)):
        found = _derive(render, calls, ends)
        if found is not None and "<|python_tag|>" in source and not found.marker:
            return replace(found, fences=(("<|python_tag|>", ""),))
        if found is not None:
            return found
    return fallback


def reasoning_of(source: str) -> Reasoning | None:
    """How the model of this template marks its thoughts, if it has any."""
    for known in REASONING:
        if known.opening in source and known.closing in source:
            return known
    return None


def flatten(
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    form: ToolFormat,
    *,
    system: bool,
) -> list[dict[str, Any]]:
    """The same talk for a template that knows no tools: calls and answers are ordinary text.

    `system` says whether the template takes a system message; else the first user's turn begins
    with the instructions.
    """
    flat: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if message.get("tool_calls"):
            content = "\n".join(filter(None, (content, _written(message["tool_calls"], form))))
        if role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
            if flat and flat[-1]["role"] == "user":
                content = f"{flat.pop()['content']}\n{content}"
        flat.append({"role": role, "content": content})
    if tools:
        _instruct(flat, _instructions(form, tools), system=system)
    return flat


def _instruct(messages: list[dict[str, Any]], text: str, *, system: bool) -> None:
    role = "system" if system else "user"
    for at, message in enumerate(messages):
        if message["role"] == role:
            both = (message["content"], text) if system else (text, message["content"])
            messages[at] = {"role": role, "content": "\n\n".join(filter(None, both))}
            return
    messages.insert(0, {"role": role, "content": text})


def _written(calls: Sequence[dict[str, Any]], form: ToolFormat) -> str:
    """Calls as the format has them."""
    texts = [
        call["function"]["name"]
        + form.middle
        + json.dumps(call["function"]["arguments"], ensure_ascii=False)
        for call in calls
    ]
    return form.opening + (form.between or "\n").join(texts) + form.closing


def _instructions(form: ToolFormat, tools: Sequence[dict[str, Any]]) -> str:
    field = re.sub(r"[^a-z]", "", form.middle)
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return (
        "You have access to functions. If you decide to call any of them, answer only with the "
        f'call, in the format {{"name": function name, "{field}": dictionary of argument name '
        "and its value}, one call per line, and no other text.\n"
        f"The functions, as JSON schemas:\n{listed}"
    )


def _derive(render: Render, calls: Sequence[Any], ends: Sequence[str]) -> ToolFormat | None:
    user = {"role": "user", "content": "hello"}
    made = [
        {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments, number in calls
    ]
    try:
        spoken = render([user, {"role": "assistant", "content": CONTENT}])
        called = render([user, {"role": "assistant", "content": "", "tool_calls": made}])
    except Exception:  # a template may refuse in any way; then it knows no calls
        return None
    head, found, _ = spoken.partition(CONTENT)
    head = head.rstrip()
    if not found or not called.startswith(head):
        return None
    return _read(called[len(head) :].lstrip(), calls, ends)


def _read(text: str, calls: Sequence[Any], ends: Sequence[str]) -> ToolFormat | None:
    """The literals around names and arguments."""
    literals: list[str] = []
    for name, arguments, _ in calls:
        for part in (name, json.dumps(arguments)):
            literal, found, text = text.partition(part)
            if not found:
                return None
            literals.append(literal)
    cut = min((at for end in ends if end and (at := text.find(end)) >= 0), default=-1)
    if cut < 0:
        return None
    # An id that is listed beside the arguments is not the model's to write.
    literals.append(text[:cut].rstrip())
    literals = [re.sub(r',\s*"id":\s*"[A-Za-z0-9]{9}"', "", literal) for literal in literals]
    opening, middle, closing = literals[0], literals[1], literals[-1]
    id_mark, _, after = middle.partition(FIRST[2])
    if after:
        middle = after
    if len(calls) == 2 and literals[3] != literals[1].replace(FIRST[2], SECOND[2]):
        return None
    tag = TAG.match(opening)
    return ToolFormat(
        opening=opening,
        middle=middle,
        closing=closing,
        between=literals[2] if len(calls) == 2 else None,
        marker=tag.group() if tag else "",
        id_mark=id_mark if after else "",
    )
