"""Arguments of a call that a model writes one by one, each between tags of its own. Pure.

Qwen3-Coder, GLM, MiniMax and others write no JSON object: plain texts stand there as they are, and
only other values are JSON. Which is which follows from the schema, and so is never in doubt: a text
is written as such if its schema is of any text or of a choice among texts; all else is JSON, texts
with further conditions too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from models.tool_format import Tags

__all__ = ["JsonValue", "Parameter", "TaggedArguments", "overlap", "parameters_of"]

Schema = Mapping[str, Any]
# What says something for people, or to the compiler beside the schema.
SILENT = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
# At the root of a function's parameters, those that a list of arguments can follow.
FOLLOWED = SILENT | {
    "$schema", "$id", "$defs", "definitions", "additionalProperties", "properties", "required",
    "strict", "type", "x-guidance",
}  # fmt: skip
DEFINITIONS = ("$defs", "definitions")
SCALAR = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Parameter:
    """One argument. `choices` are all that may be written, None any text; JSON has a schema."""

    name: str
    required: bool
    is_text: bool
    choices: tuple[str, ...] | None
    schema: Mapping[str, Any]


def parameters_of(schema: Schema) -> tuple[Parameter, ...]:
    """The arguments of a function, in the order of its schema, each with a schema of its own.

    Raises ValueError that names what a list of arguments cannot follow.
    """
    for keyword in sorted(schema.keys() - FOLLOWED):
        raise ValueError(f"this model cannot follow '{keyword}' of all arguments together")
    listed = cast("dict[str, Any]", schema.get("properties", {}))
    needed = cast("list[str]", schema.get("required", []))
    others = schema.get("additionalProperties", {})
    properties = {**listed, **{name: others for name in needed if name not in listed}}
    shared = {key: schema[key] for key in DEFINITIONS if key in schema}
    return tuple(
        _parameter(name, each, shared, required=name in needed) for name, each in properties.items()
    )


def _parameter(name: str, given: object, shared: Schema, *, required: bool) -> Parameter:
    if not name or set(name) & set("<>\n") or name != name.strip():
        raise ValueError(f"this model cannot write an argument called {name[:60]!r}")
    if given is True:
        given = {}
    if not isinstance(given, Mapping):  # false: nothing matches it
        raise ValueError(f"'{name}' has no schema that a value could follow")
    schema = cast("Schema", given)
    for reference in _references(schema):
        if not reference.startswith(tuple(f"#/{key}/" for key in DEFINITIONS)):
            raise ValueError(f"'{name}' refers to {reference[:60]!r}, which is in none of '$defs'")
    own = _resolved(schema, shared)
    said = {key: own[key] for key in own.keys() - SILENT}
    choices = said.pop("enum", None)
    if "const" in said and choices is None:
        choices = [said.pop("const")]
    texts = choices is None or _are_texts(choices)
    plain = said == {"type": "string"} or (choices is not None and not said)
    is_text = texts and plain
    return Parameter(
        name,
        required,
        is_text,
        tuple(choices) if is_text and choices else None,
        {**schema, **shared},
    )


def _are_texts(choices: object) -> bool:
    """Whether all are texts that no tag could be mistaken in."""
    if not isinstance(choices, list) or not choices:
        return False
    return all(
        isinstance(each, str) and "<" not in each and each == each.strip() != ""
        for each in cast("list[object]", choices)
    )


def _resolved(schema: Schema, shared: Schema) -> Schema:
    """What a reference leads to, if there is nothing beside it; at most one is followed."""
    if schema.keys() - SILENT != {"$ref"}:
        return schema
    found: object = shared
    for part in str(schema["$ref"])[2:].split("/"):
        found = cast("object", found.get(part)) if isinstance(found, Mapping) else None
    return cast("Schema", found) if isinstance(found, Mapping) else schema


def _references(node: object) -> list[str]:
    if isinstance(node, Mapping):
        schema = cast("Schema", node)
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [each for value in schema.values() for each in _references(value)]
    if isinstance(node, list):
        return [each for item in cast("list[object]", node) for each in _references(item)]
    return []


class TaggedArguments:
    """Reads the arguments of one call as they come, and writes them as a JSON object.

    `texts` says of each argument's name whether it is written as plain text.
    """

    def __init__(self, tags: Tags, texts: Mapping[str, bool]) -> None:
        self._tags = tags
        self._texts = texts
        self._written = 0
        self._value: _Text | _Json | None = None
        self.ended = False

    def read(self, text: str) -> tuple[int, str]:
        """How much of `text` is done with, and the JSON that it makes."""
        done, made = 0, ""
        while not self.ended:
            length, said = self._step(text[done:])
            done, made = done + length, made + said
            if not length and not said:
                break
        return done, made

    def _step(self, text: str) -> tuple[int, str]:
        if self._value is None:
            return self._begin(text)
        length, said = self._value.read(text)
        if self._value.ended:
            self._value = None
        return length, said

    def _begin(self, text: str) -> tuple[int, str]:
        """The next argument's tag, or what stands after the last."""
        rest = text.lstrip()
        partial = not rest
        for name, is_text in self._texts.items():
            tag = self._tags.opening + name + self._tags.middle
            if rest.startswith(tag):
                value = (_Text if is_text else _Json)(self._tags.closing)
                key = json.dumps(name, ensure_ascii=False)
                said = f"{', ' if self._written else '{'}{key}: {value.opening}"
                self._value = value
                self._written += 1
                return len(text) - len(rest) + len(tag), said
            partial = partial or tag.startswith(rest)
        if partial:
            return 0, ""
        self.ended = True
        return len(text) - len(rest), "}" if self._written else "{}"


class _Text:
    """A text up to its closing tag, as a JSON string."""

    opening = '"'

    def __init__(self, closing: str) -> None:
        self._closing = closing.rstrip()
        self.ended = False

    def read(self, text: str) -> tuple[int, str]:
        at = text.find(self._closing)
        certain = at if at >= 0 else len(text) - overlap(text, self._closing)
        said = json.dumps(text[:certain], ensure_ascii=False)[1:-1]
        if at < 0:
            return certain, said
        self.ended = True
        return at + len(self._closing), f'{said}"'


class _Json:
    """A JSON value and its closing tag."""

    opening = ""

    def __init__(self, closing: str) -> None:
        self._closing = closing.strip()
        self._value = JsonValue()
        self.ended = False

    def read(self, text: str) -> tuple[int, str]:
        if not self._value.ended:
            return self._value.read(text)
        rest = text.lstrip()
        if not rest.startswith(self._closing):
            return 0, ""
        self.ended = True
        return len(text) - len(rest) + len(self._closing), ""


class JsonValue:
    """Finds the end of a JSON value that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = self._begun = self._scalar = False
        self.ended = False

    def read(self, text: str) -> tuple[int, str]:
        """How much of `text` is done with, and what of it belongs to the value."""
        skipped = 0 if self._begun else len(text) - len(text.lstrip())
        length = self._scan(text[skipped:])
        return skipped + length, text[skipped : skipped + length]

    def _scan(self, text: str) -> int:
        if text and not self._begun:
            self._begun, self._scalar = True, text[0] in SCALAR
        for at, char in enumerate(text):
            if self._scalar:
                if char not in SCALAR:
                    self.ended = True
                    return at
            elif self._quoted:
                self._within(char)
            elif char == '"':
                self._quoted = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
            if not self._scalar and not self._quoted and self._depth <= 0:
                self.ended = True
                return at + 1
        return len(text)

    def _within(self, char: str) -> None:
        """One character of a string."""
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._quoted = False


def overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that begins `marker`."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
