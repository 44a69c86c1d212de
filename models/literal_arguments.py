"""Arguments of a call that a model writes as literals, each after its name. Pure.

Llama 4 and LFM2 write a call as Python has it: `[f(city="Paris", days=3, snow=True)]`. Gemma 4 has
a notation of its own, in which texts stand between marks: `f{city:<|"|>Paris<|"|>,days:3}`. Either
is read while it comes and becomes a JSON object.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from models.tagged_arguments import overlap
from models.tool_format import Literals, ToolFormat

__all__ = ["GEMMA4", "LFM", "LLAMA_PYTHON", "LiteralArguments", "recognised", "speaking"]

PYTHON = Literals(assign="=", comma=", ", words=("True", "False", "None"))
# As Meta documents it for Llama 3.2 and 4. Llama 4 may put tags around a call.
LLAMA_PYTHON = ToolFormat(
    opening="[",
    middle="(",
    closing=")]",
    between="), ",
    fences=(("<|python_start|>", "<|python_end|>"), ("<|python_tag|>", "")),
    literals=PYTHON,
)
LFM = ToolFormat(
    opening="<|tool_call_start|>[",
    middle="(",
    closing=")]<|tool_call_end|>",
    between="), ",
    marker="<|tool_call_start|>",
    literals=PYTHON,
)
GEMMA4 = ToolFormat(
    opening="<|tool_call>call:",
    middle="{",
    closing="}<tool_call|>",
    between="}<tool_call|><|tool_call>call:",
    marker="<|tool_call>",
    literals=Literals(
        assign=":", comma=",", words=("true", "false", "null"), quote='<|"|>', bare_keys=True
    ),
)
# What a template says that no other says.
SIGNS = (
    (re.compile(r"<\|tool_list_start\|>|<\|tool_call_start\|>|List of tools: \["), LFM),
    (re.compile(r"<\|tool_call>call:"), GEMMA4),
    (re.compile(r"\[func_name1\("), LLAMA_PYTHON),
)
SCALAR = re.compile(r"[A-Za-z0-9_.+-]+")
ESCAPED = {'"': '\\"', "'": "'"}  # of what follows a backslash, where JSON has it otherwise


def recognised(source: str) -> ToolFormat | None:
    """The format of a chat template, if it is one of these."""
    return next((form for sign, form in SIGNS if sign.search(source)), None)


def speaking(messages: Sequence[dict[str, Any]], form: ToolFormat) -> list[dict[str, Any]]:
    """The same talk with the calls of Python's kind as text, which templates leave out or misquote.

    Other formats' calls stay as they are.
    """
    if form.literals is None or not form.literals.escapes:
        return list(messages)
    found: list[dict[str, Any]] = []
    for message in messages:
        turn = dict(message)
        calls = turn.pop("tool_calls", None)
        if calls:
            turn["content"] = (turn.get("content") or "") + _written(calls, form)
        found.append(turn)
    return found


def _written(calls: Sequence[Mapping[str, Any]], form: ToolFormat) -> str:
    """Calls of an earlier turn, arguments as objects, as a model of this format writes them."""
    assert form.literals is not None
    literals = form.literals
    texts: list[str] = []
    for call in calls:
        function = cast("Mapping[str, Any]", call["function"])
        given: object = function["arguments"]
        found = cast("Mapping[str, object]", given if isinstance(given, Mapping) else {})
        listed = [name + literals.assign + _spelled(found[name], literals) for name in found]
        texts.append(f"{function['name']}{form.middle}{literals.comma.join(listed)}")
    return form.opening + (form.between or "\n").join(texts) + form.closing


def _spelled(value: object, literals: Literals) -> str:
    if isinstance(value, str):
        if literals.escapes:
            return json.dumps(value, ensure_ascii=False)
        return literals.quote + value + literals.quote
    if value is None or isinstance(value, bool):
        return literals.words[(True, False, None).index(value)]
    if isinstance(value, list):
        items = cast("list[object]", value)
        return f"[{literals.comma.join(_spelled(each, literals) for each in items)}]"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value).items()
        colon = ":" if literals.bare_keys else ": "
        texts = [
            (name if literals.bare_keys else _spelled(name, literals))
            + colon
            + _spelled(each, literals)
            for name, each in pairs
        ]
        return f"{{{literals.comma.join(texts)}}}"
    return json.dumps(value)


class LiteralArguments:
    """Reads the arguments of one call as they come, and writes them as a JSON object.

    `end` is the character that closes them; it is left unread.
    """

    def __init__(self, literals: Literals, end: str) -> None:
        self._literals = literals
        self._end = end
        self._words = dict(zip(literals.words, ("true", "false", "null"), strict=True))
        self._written = 0
        self._named = False  # a value is under way
        self._open: list[str] = []  # brackets
        self._key = False  # a name without quotes is next
        self._quote = ""  # what closes the text that is under way
        self.ended = False

    def read(self, text: str) -> tuple[int, str]:
        """How much of `text` is done with, and the JSON that it makes."""
        done, made = 0, ""
        while not self.ended and done < len(text):
            length, said = self._step(text[done:])
            done, made = done + length, made + said
            if not length and not self.ended:
                break
            if self.ended:
                made += "" if self._written else "{"
                made += "}"
        return done, made

    def _step(self, text: str) -> tuple[int, str]:
        """The next of it; nothing if more must come first."""
        if self._quote:
            return self._within(text)
        if text[0].isspace():
            return 1, ""
        if not self._open and text[0] in (self._end, ","):
            self._named = False
            self.ended = text[0] == self._end
            return int(not self.ended), ""
        if not self._named:
            return self._name(text)
        return self._value(text)

    def _name(self, text: str) -> tuple[int, str]:
        name, found, _ = text.partition(self._literals.assign)
        if not found:
            return 0, ""
        said = f"{', ' if self._written else '{'}{json.dumps(name, ensure_ascii=False)}: "
        self._named = True
        self._written += 1
        return len(name) + len(found), said

    def _value(self, text: str) -> tuple[int, str]:
        quotes = (self._literals.quote, "'") if self._literals.escapes else (self._literals.quote,)
        for quote in quotes:
            if text.startswith(quote):
                self._quote = quote
                return len(quote), '"'
        if any(quote.startswith(text) for quote in quotes):
            return 0, ""
        if self._key and text[0] != "}":
            return self._bare_key(text)
        scalar = SCALAR.match(text)
        if scalar is not None:
            word = scalar.group()
            return (0, "") if len(word) == len(text) else (len(word), self._words.get(word, word))
        return 1, self._punctuation(text[0])

    def _bare_key(self, text: str) -> tuple[int, str]:
        name, found, _ = text.partition(":")
        if not found:
            return 0, ""
        self._key = False
        return len(name) + 1, f"{json.dumps(name, ensure_ascii=False)}: "

    def _punctuation(self, char: str) -> str:
        if char in "[{":
            self._open.append(char)
        elif char in "]}" and self._open:
            self._open.pop()
        within = self._open[-1:] == ["{"]
        self._key = self._literals.bare_keys and within and char in "{,"
        return {",": ", ", ":": ": "}.get(char, char)

    def _within(self, text: str) -> tuple[int, str]:
        """A part of a text, as JSON has it."""
        if not self._literals.escapes:
            at = text.find(self._quote)
            certain = at if at >= 0 else len(text) - overlap(text, self._quote)
            said = json.dumps(text[:certain], ensure_ascii=False)[1:-1]
            if at < 0:
                return certain, said
            certain += len(self._quote)
            self._quote = ""
            return certain, f'{said}"'
        char = text[0]
        if char == self._quote:
            self._quote = ""
            return 1, '"'
        if char == "\\":
            return (2, ESCAPED.get(text[1], text[:2])) if len(text) > 1 else (0, "")
        return 1, json.dumps(char, ensure_ascii=False)[1:-1]
