"""The grammar of a whole answer: thoughts, then text, calls of tools or what a format asks for.

Written in llguidance's Lark. Calls are exact where nothing else may stand in their place; where
an answer may be text or calls, text is whatever does not begin a call of a known function, so that
no call is ever written outside of the grammar.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from models.errors import InvalidRequest
from models.harmony import HARMONY, HarmonyParser
from models.output_parser import OutputParser, Thinking
from models.parts import PartParser
from models.tagged_arguments import SILENT, Parameter, parameters_of
from models.tool_format import Reasoning, Tags, ToolFormat
from models.types import Tool, ToolUse
from models.worker.harmony_grammar import harmony_rules
from models.worker.literal_grammar import LiteralRules
from models.worker.schemas import prepare

__all__ = ["Shape", "compose"]

SPACE = r"[ \t\r\n]{0,16}"
ANYTHING = r"(.|\n)"
PLAIN = SILENT | {"type", "properties", "required", "strict", "$schema", "$id"}
# A text cut at its control tokens, which are given as ids.
Split = Callable[[str], Sequence[str | int]]


@dataclass(frozen=True)
class Shape:
    """What may stand in an answer. `form` and `tools` matter only where there is a `use`."""

    form: ToolFormat
    tools: tuple[Tool, ...] = ()
    use: ToolUse | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking = "no"

    def parser(self) -> PartParser:
        """Tells the parts of such an answer apart."""
        names = () if self.use is None else self.use.names
        if self.form == HARMONY:
            return HarmonyParser(names)
        tagged = self.form.tags is not None
        return OutputParser(
            reasoning=self.reasoning,
            thinking=self.thinking,
            form=None if self.use is None else self.form,
            names=names,
            texts={
                name: {each.name: each.is_text for each in self.parameters(name)}
                for name in names
                if tagged
            },
        )

    def schema(self, name: str) -> dict[str, Any]:
        """What the arguments of a function must follow. Raises InvalidRequest that names it."""
        try:
            return _closed(prepare(_parameters(self.tools, name)))
        except InvalidRequest as error:
            raise _refused(self.tools, name, str(error)) from error

    def parameters(self, name: str) -> tuple[Parameter, ...]:
        """Its arguments one by one. Raises InvalidRequest for what so cannot be followed."""
        try:
            return _listed(_parameters(self.tools, name))
        except (InvalidRequest, ValueError) as error:
            raise _refused(self.tools, name, str(error)) from error


def compose(shape: Shape, split: Split, body: str | None) -> str:
    """All grammars as llguidance takes them, in JSON.

    `split` cuts a text at its control tokens. `body` is the grammar of an answer that is no call,
    in the same form; None: any text. Raises InvalidRequest that names a tool whose schema cannot
    be followed.
    """
    lark = _Lark(shape, split, has_body=body is not None)
    grammars: list[dict[str, Any]] = [{"name": "answer", "lark_grammar": lark.text()}]
    if body is not None:
        grammars.append({**json.loads(body)["grammars"][0], "name": "body"})
    if shape.use is not None:
        for number, name in enumerate(shape.use.names):
            if shape.form.literals is not None:
                continue
            if shape.form.tags is None:
                grammars.append(_json(f"arguments_{number}", shape.schema(name)))
                continue
            grammars += [
                _json(f"value_{number}_{at}", each.schema)
                for at, each in enumerate(shape.parameters(name))
                if not each.is_text
            ]
    return json.dumps({"grammars": grammars}, ensure_ascii=False)


def _json(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A grammar of JSON as models write it, that others refer to by its name."""
    flags = {"x-guidance": {"whitespace_flexible": False}}
    return {"name": name, "json_schema": {**schema, **flags}}


class _Lark:
    def __init__(self, shape: Shape, split: Split, *, has_body: bool) -> None:
        self._shape = shape
        self._split = split
        self._has_body = has_body
        self._rules: list[str] = []
        self._written: dict[int, str] = {}  # the rule of each function's arguments

    def text(self) -> str:
        shape = self._shape
        if shape.form == HARMONY:
            return self._harmony()
        start = "answer"
        if shape.reasoning is not None and shape.thinking != "no":
            start = self._thoughts(shape.reasoning) + " answer"
        use = shape.use
        if use is None:
            answer = self._body()
        elif use.required:
            answer = f"{self._spaced()}calls"
            self._calls(shape.form.opening, shape.form.closing)
        elif shape.form.marker:
            answer = self._marked(shape.form)
        else:
            answer = self._unmarked(shape.form, use.names)
        return "\n".join(
            ["%llguidance {}", f"start: {start}", f"answer: {answer}", *self._rules, ""]
        )

    def _harmony(self) -> str:
        use = self._shape.use
        rules = harmony_rules(
            self._literal,
            () if use is None else use.names,
            required=use is not None and use.required,
            has_body=self._has_body,
        )
        return "\n".join(["%llguidance {}", "start: answer", *rules, ""])

    def _thoughts(self, reasoning: Reasoning) -> str:
        closing = self._literal(reasoning.closing)
        if _is_token(closing):
            self._rules += [f"thoughts: THOUGHTS? {closing}", f"THOUGHTS: /{ANYTHING}+/"]
        else:
            end = _escaped(reasoning.closing)
            self._rules.append(f"thoughts[lazy]: /{ANYTHING}*{end}/")
        if self._shape.thinking == "open":
            return "thoughts"
        self._rules.append(f"thinking: {self._literal(reasoning.opening)} thoughts")
        return "thinking?"

    def _spaced(self) -> str:
        """Whitespace that separates thoughts from what is exact."""
        if self._shape.thinking == "no":
            return ""
        if "SPACE: " not in "".join(self._rules):
            self._rules.append(r"SPACE: /[ \t\r\n]{1,16}/")
        return "SPACE? "

    def _body(self) -> str:
        return f"{self._spaced()}@body"

    def _marked(self, form: ToolFormat) -> str:
        """Text, then calls that begin with a marker which text cannot contain."""
        marker = self._literal(form.marker)
        self._calls(form.opening, form.closing)
        if self._has_body:
            return f"{self._body()} | {self._spaced()}calls"
        if _is_token(marker):
            self._rules.append(f"TEXT: /{ANYTHING}+/")
            return "TEXT? calls?"
        mark = _escaped(form.marker)
        self._rules += [
            f"TEXT: /{ANYTHING}+/ & ~/{ANYTHING}*{mark}{ANYTHING}*/",
            f"lead[lazy]: /{ANYTHING}*{mark}/",
        ]
        self._rules.append(f"led: lead {self._sequence(form.opening[len(form.marker) :])}")
        return "TEXT? | led"

    def _unmarked(self, form: ToolFormat, names: Sequence[str]) -> str:
        """Text, or calls at its very beginning. One lexeme decides, whitespace as it comes."""
        if self._has_body:
            raise InvalidRequest(
                "This model cannot choose between calling a tool and following 'response_format': "
                'leave one of them out, or say "tool_choice": "none" or "required".',
                "response_format",
            )
        known = "|".join(names)
        alternatives: list[str] = []
        starts: list[str] = []
        for at, (before, after) in enumerate((("", ""), *form.fences)):
            start = self._literal(before)
            token = before and _is_token(start)
            opening = _flexible(form.opening if token else before + form.opening)
            heads = [
                f"HEAD_{at}_{n}: /{SPACE}{opening}{name}{_flexible(form.middle)}/"
                for n, name in enumerate(names)
            ]
            firsts = " | ".join(
                f"HEAD_{at}_{n} {self._arguments(n, name)}" for n, name in enumerate(names)
            )
            rest = self._rest(form)
            closing = self._literal(form.closing + after)
            self._rules += [*heads, f"first_{at}: {firsts}"]
            alternatives.append(f"{start if token else ''} first_{at} {rest}{closing}".strip())
            if not token:
                starts.append(f"{opening}({known}){_escaped(form.middle[:1])}")
        no_call = f"~/{SPACE}({'|'.join(starts)}){ANYTHING}*/"
        self._rules.append(f"TEXT: /{ANYTHING}+/ & {no_call}")
        return " | ".join(["TEXT?", *alternatives])

    def _calls(self, opening: str, closing: str) -> None:
        form = self._shape.form
        self._rules.append(
            f"calls: {self._literal(opening)} call {self._rest(form)}{self._literal(closing)}"
        )
        self._call_rules(form)

    def _sequence(self, opening: str) -> str:
        form = self._shape.form
        return f"{self._literal(opening)} call {self._rest(form)}{self._literal(form.closing)}"

    def _rest(self, form: ToolFormat) -> str:
        """More calls, if several may be made."""
        assert self._shape.use is not None
        if form.between is None or not self._shape.use.parallel:
            return ""
        self._call_rules(form)
        return f"({self._literal(form.between)} call)* "

    def _call_rules(self, form: ToolFormat) -> None:
        assert self._shape.use is not None
        if any(rule.startswith("call: ") for rule in self._rules):
            return
        names = self._shape.use.names
        self._rules.append("call: " + " | ".join(f"call_{n}" for n in range(len(names))))
        for number, name in enumerate(names):
            if form.id_mark:
                head = f"{self._literal(name + form.id_mark)} ID {self._literal(form.middle)}"
            else:
                head = self._literal(name + form.middle)
            self._rules.append(f"call_{number}: {head} {self._arguments(number, name)}")
        if form.id_mark:
            self._rules.append("ID: /[a-zA-Z0-9]{9}/")

    def _arguments(self, number: int, name: str) -> str:
        """One JSON object, or one argument after the other, in the order of the schema."""
        if number not in self._written:
            self._written[number] = self._new_arguments(number, name)
        return self._written[number]

    def _new_arguments(self, number: int, name: str) -> str:
        form = self._shape.form
        tags = form.tags
        if form.literals is not None:
            rules = LiteralRules(str(number), form.literals, self._literal)
            try:
                arguments = rules.arguments(self._shape.parameters(name))
            except ValueError as error:
                raise _refused(self._shape.tools, name, str(error)) from error
            self._rules += rules.rules
            return arguments
        if tags is None:
            return f"@arguments_{number}"
        parts: list[str] = []
        for at, each in enumerate(self._shape.parameters(name)):
            rule = f"argument_{number}_{at}"
            head = self._literal(tags.opening + each.name + tags.middle)
            value = self._value(each, f"{number}_{at}", tags)
            self._rules.append(f"{rule}: {head} {value}")
            parts.append(rule if each.required else f"{rule}?")
        return " ".join(parts)

    def _value(self, each: Parameter, place: str, tags: Tags) -> str:
        """An argument's value and its closing tag, which no text can contain."""
        closing = self._literal(tags.closing)
        if not each.is_text:
            return f"@value_{place} {closing}"
        if each.choices is not None:
            return f"({' | '.join(map(json.dumps, each.choices))}) {closing}"
        first, *rest = self._split(tags.closing)
        before = ""
        if isinstance(first, str) and rest:  # whitespace before a token that closes
            before, first = first, rest.pop(0)
        if isinstance(first, int):
            self._rules.append(f"VALUE_{place}: /{ANYTHING}*{_escaped(before)}/")
            optional = "" if before else "?"
            return f"VALUE_{place}{optional} <[{first}]> {''.join(map(json.dumps, rest))}"
        tag = _escaped(tags.closing.strip())
        self._rules += [
            f"TEXT_{place}: /{ANYTHING}*/ & ~/{ANYTHING}*{tag}{ANYTHING}*/",
            f"VALUE_{place}: TEXT_{place} {closing}",
        ]
        return f"VALUE_{place}"

    def _literal(self, text: str) -> str:
        """Text in Lark, control tokens as such: nothing else can spell them."""
        parts = self._split(text) if text else ()
        return " ".join(f"<[{p}]>" if isinstance(p, int) else json.dumps(p) for p in parts)


def _is_token(lark: str) -> bool:
    """Whether the whole literal is one control token."""
    return re.fullmatch(r"<\[\d+\]>", lark) is not None


def _escaped(text: str) -> str:
    """For a regular expression of llguidance's Lark, in slashes."""
    return re.sub(r"([\\.+*?()|\[\]{}^$/])", r"\\\1", text).replace("\n", r"\n")


def _flexible(text: str) -> str:
    """A regular expression for a literal with whitespace wherever JSON may have some."""
    parts = re.findall(r"\s+|[{}\[\],:]|[^\s{}\[\],:]+", text)
    found = ""
    for part in parts:
        if part.isspace():
            found += SPACE
        elif part in "{}[],:":
            found += SPACE + _escaped(part) + SPACE
        else:
            found += _escaped(part)
    while SPACE * 2 in found:
        found = found.replace(SPACE * 2, SPACE)
    return found.removeprefix(SPACE)


@lru_cache(256)  # a parser asks on the step thread, just after the compiler did beside it
def _listed(parameters: str) -> tuple[Parameter, ...]:
    return parameters_of(_closed(prepare(parameters)))


def _parameters(tools: Sequence[Tool], name: str) -> str:
    return next(tool.parameters for tool in tools if tool.name == name)


def _refused(tools: Sequence[Tool], name: str, why: str) -> InvalidRequest:
    number = next(number for number, tool in enumerate(tools) if tool.name == name)
    message = f"The parameters of tool '{name}': {why}"
    return InvalidRequest(message, f"tools[{number}].function.parameters")


def _closed(text: str) -> dict[str, Any]:
    """The schema as one of an object; without arguments, where it lists that there are none."""
    found: object = json.loads(text)
    schema = dict(cast("Mapping[str, Any]", found)) if isinstance(found, dict) else {}
    if schema.get("properties") == {} and not schema.get("required") and schema.keys() <= PLAIN:
        schema["additionalProperties"] = False
    return {**schema, "type": "object"}
