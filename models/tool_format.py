"""How a model writes tool calls and its thoughts, read off its own chat template. Pure.

A template shows how the calls of earlier turns were written, and so were those that the model was
trained on. Rendering two made-up calls and looking at what stands around their names and arguments
gives the format of every family whose arguments are JSON (Hermes and Qwen, Llama 3, Mistral,
DeepSeek, Granite and others) or stand one by one between tags (Qwen3-Coder, GLM, MiniMax, Seed).
Where a template knows no tools, the model is told how to write calls as JSON.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "GEMMA",
    "GENERIC",
    "Literals",
    "Reasoning",
    "Tags",
    "ToolFormat",
    "derive",
    "fallback",
    "flatten",
    "reasoning_of",
]

# Whether a template takes arguments as text, and no content beside calls: DeepSeek's want both.
WAYS = tuple(
    {"text_arguments": text, "no_content": bare} for text in (False, True) for bare in (False, True)
)
Render = Callable[[Sequence[dict[str, Any]]], str]

# What the probe calls. Ids as Mistral's templates demand them: nine letters or digits.
Probe = tuple[str, dict[str, Any], str]
FIRST: Probe = ("probeOne", {"keyOne": 7}, "a1b2c3d4e")
SECOND: Probe = ("probeTwo", {"keyTwo": "x"}, "f5g6h7i8j")
CONTENT = "zqContentProbe"
# Arguments that show what stands around each, where they are not JSON.
LISTED = ({"keyOne": "zqOne", "keyTwo": "zqTwo"}, {"keyThree": "zqThree", "keyFour": "zqFour"})


@dataclass(frozen=True)
class Tags:
    """Arguments one by one: each is `opening` name `middle` value `closing`."""

    opening: str
    middle: str
    closing: str


@dataclass(frozen=True)
class Literals:
    """Arguments as a list of names and literals: name `assign` value, with `comma` between.

    `words` are how true, false and null are written. A text stands between two `quote`s; if these
    are no single character, nothing in it is escaped. `bare_keys`: of objects, without quotes.
    """

    assign: str
    comma: str
    words: tuple[str, str, str]
    quote: str = '"'
    bare_keys: bool = False

    @property
    def escapes(self) -> bool:
        """Whether texts are escaped as JSON's and Python's are."""
        return len(self.quote) == 1


@dataclass(frozen=True)
class ToolFormat:
    """A call is `opening` name `middle` arguments `closing`.

    `between` stands in the place of closing and opening between two calls; None: only one is made.
    `marker` begins every opening and nothing else; without one, calls stand at the very beginning
    of the answer, where they may be fenced. In `middle` an id of the call may follow `id_mark`.
    The arguments are one JSON object, or a list between `tags`, or one of `literals`.
    """

    opening: str
    middle: str
    closing: str
    between: str | None
    marker: str = ""
    id_mark: str = ""
    fences: tuple[tuple[str, str], ...] = ()
    native: bool = True  # the template itself presents the tools
    tags: Tags | None = None
    literals: Literals | None = None
    text_arguments: bool = False  # the template takes the arguments of calls as JSON text
    no_content: bool = False  # a turn with calls and no text has no content at all

    @property
    def marks(self) -> tuple[str, ...]:
        """All that a call is written with but names and values."""
        found = [self.opening, self.middle, self.closing, self.between or "", self.id_mark]
        if self.tags is not None:
            found += [self.tags.opening, self.tags.middle, self.tags.closing]
        if self.literals is not None:
            found.append(self.literals.quote)
        return (*found, *(text for fence in self.fences for text in fence))

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
TAG = re.compile(r"<[^<>\s]{2,}>|\[[A-Z_]{3,}\]|<[a-z_]{3,} name=\"")


def derive(source: str, render: Render, ends: Sequence[str]) -> ToolFormat:
    """The format of a template; `render` renders messages, `ends` are texts that end a turn.

    Never fails: what cannot be read off is written as plain JSON.
    """
    for way in WAYS:
        for count in (2, 1):
            found = _derive(render, (FIRST, SECOND)[:count], ends, way)
            if found is not None and "<|python_tag|>" in source and not found.marker:
                return replace(found, fences=(("<|python_tag|>", ""),))
            if found is not None:
                return found
    return fallback(source)


def fallback(source: str) -> ToolFormat:
    """The format that a model is told where its template shows none."""
    return GEMMA if "<start_of_turn>" in source else GENERIC


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


def _derive(
    render: Render, calls: Sequence[Probe], ends: Sequence[str], way: Mapping[str, bool]
) -> ToolFormat | None:
    """Of arguments as one JSON object, or between tags."""
    found = _read(_shown(render, calls, ends, way), calls)
    if found is None and not way["text_arguments"]:
        listed = [
            (name, arguments, number)
            for (name, _, number), arguments in zip(calls, LISTED, strict=False)
        ]
        found = _read_tagged(_shown(render, listed, ends, way), listed)
    if found is None or (way["no_content"] and found.opening.startswith("None")):
        return None  # the template wrote that there is no content
    return replace(found, **way)


def _shown(
    render: Render, calls: Sequence[Probe], ends: Sequence[str], way: Mapping[str, bool]
) -> str:
    """How the template writes a turn of these calls; nothing if it does not."""
    user = {"role": "user", "content": "hello"}
    made = [
        {
            "id": number,
            "type": "function",
            "function": {
                "name": name,
                "arguments": json.dumps(arguments) if way["text_arguments"] else arguments,
            },
        }
        for name, arguments, number in calls
    ]
    content = None if way["no_content"] else ""
    try:
        spoken = render([user, {"role": "assistant", "content": CONTENT}])
        called = render([user, {"role": "assistant", "content": content, "tool_calls": made}])
    except Exception:  # a template may refuse in any way; then it knows no calls
        return ""
    head, found, tail = spoken.partition(CONTENT)
    head = head.rstrip()
    if not called.startswith(head):  # it may leave out what marks that there are no thoughts
        for known in REASONING:
            head = head.removesuffix(known.closing).rstrip().removesuffix(known.opening).rstrip()
    if not found or not called.startswith(head):
        return ""
    text = called[len(head) :].lstrip()
    last = text.rfind(calls[-1][0])
    cut = min((at for end in ends if end and (at := text.find(end, last)) >= 0), default=-1)
    if cut < 0:  # the turn ends with what follows any other
        cut = len(text) - len(tail) if text.endswith(tail) else len(text)
    return text[:cut].rstrip()


def _read(text: str, calls: Sequence[Probe]) -> ToolFormat | None:
    """The literals around names and arguments."""
    parts = [part for name, arguments, _ in calls for part in (name, json.dumps(arguments))]
    literals = _around(text, parts)
    if literals is None:
        return None
    # An id that is listed beside the arguments is not the model's to write.
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


def _read_tagged(text: str, calls: Sequence[Probe]) -> ToolFormat | None:
    """The literals around names, and around the names and values of their arguments."""
    parts = [
        part
        for name, arguments, _ in calls
        for part in (name, *(each for pair in arguments.items() for each in pair))
    ]
    literals = _around(text, parts)
    if literals is None:
        return None
    opening, head, middle, join, same, *rest = literals
    tag = TAG.match(opening)
    # The tag of an argument is the last before its name: what comes before closes something else.
    begins = head[head.rfind("<") :]
    ends = join.removesuffix(begins)
    if tag is None or "<" not in head or ends == join or middle != same or not rest[-1]:
        return None
    if not ends.lstrip().startswith("<") or any(not each.startswith(ends) for each in rest[::5]):
        return None
    if len(calls) == 2 and rest[1:5] != [head, middle, join, middle]:
        return None
    return ToolFormat(
        opening=opening,
        middle=head.removesuffix(begins),
        closing=rest[-1].removeprefix(ends),
        between=rest[0].removeprefix(ends) if len(calls) == 2 else None,
        marker=tag.group(),
        tags=Tags(begins, middle, ends),
    )


def _around(text: str, parts: Sequence[str]) -> list[str] | None:
    """What stands before, between and behind the parts; None if one is missing."""
    literals: list[str] = []
    for part in parts:
        literal, found, text = text.partition(part)
        if not found:
            return None
        literals.append(literal)
    return [*literals, text]
