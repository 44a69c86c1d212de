"""Arguments between tags: what is written there follows the schema, and is read as JSON."""

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.output_parser import OutputParser
from models.tagged_arguments import parameters_of
from models.tool_format import Tags, ToolFormat
from models.types import CallDelta, Tool, ToolUse
from models.worker.answer_grammar import Shape, compose
from models.worker.structured import Matcher
from tests.unit.models.test_answer_grammar import BYTES, compiled
from tests.unit.models.test_tool_format import GLM, MINIMAX, QWEN3_CODER, form_of

FORMS = tuple(map(form_of, (QWEN3_CODER, GLM, MINIMAX)))
SCHEMAS: dict[str, dict[str, Any]] = {
    "write": {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "any"},
            "mode": {"$ref": "#/$defs/mode"},
            "code": {"type": "string", "pattern": "^[a-c]{2}$"},
            "note": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["mode", "code"],
        "$defs": {"mode": {"enum": ["new file", "append"]}},
    },
    "write_all": {
        "type": "object",
        "properties": {"deep": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
    },
}
TOOLS = tuple(Tool(name, "", json.dumps(schema)) for name, schema in SCHEMAS.items())


def write(matcher: Matcher, tag: str, seed: int) -> str:
    """At random to the end; now and then the closing tag, which no random text spells."""
    draw, text = random.Random(seed), bytearray()
    while not matcher.stopped:
        allowed = matcher.allowed().nonzero()[0].tolist()
        wanted = [draw.choice(allowed)] if draw.random() < 0.6 else [*tag.encode()]
        for byte in wanted:
            if byte == BYTES.eos_token:
                return text.decode("utf-8", "replace")
            if matcher.stopped or not matcher.allowed()[byte]:
                break
            matcher.consume(byte)
            text.append(byte)
    return text.decode("utf-8", "replace")


def read(parser: OutputParser, pieces: list[str]) -> list[tuple[str, Any]]:
    calls: dict[int, list[str]] = {}
    parts = [part for piece in pieces for part in parser.push(piece)] + parser.finish()
    for part in parts:
        assert isinstance(part, CallDelta), part
        calls.setdefault(part.index, [part.name, ""])[1] += part.arguments
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


@pytest.mark.parametrize("form", FORMS)
def test_what_the_grammar_takes_follows_the_schema(form: ToolFormat) -> None:
    assert form.tags is not None
    wanted = Shape(form, TOOLS, ToolUse(tuple(SCHEMAS), required=True))
    for seed in range(5):
        text = write(compiled(wanted), form.tags.closing, seed)
        calls = read(wanted.parser(), [text])
        assert calls == read(wanted.parser(), [*text])
        for name, arguments in calls:
            jsonschema.validate(arguments, SCHEMAS[name] | {"additionalProperties": False})


texts = st.text(max_size=12).filter(lambda text: "</" not in text)
values = texts | st.integers() | st.booleans() | st.none() | st.lists(st.text(max_size=4))
names = st.sampled_from(["a", "ab", "é", "a_b"])


@given(
    st.sampled_from(FORMS),
    st.lists(st.dictionaries(names, values), min_size=1, max_size=2),
    st.lists(st.integers(0, 999), max_size=9),
)
def test_values_come_back_however_the_text_is_cut(
    form: ToolFormat, calls: list[dict[str, Any]], at: list[int]
) -> None:
    assert form.tags is not None
    for arguments in calls:
        kinds = {name: isinstance(value, str) for name, value in arguments.items()}
        text = form.opening + "write" + form.middle + _tagged(form.tags, arguments) + form.closing
        places = sorted({place % (len(text) + 1) for place in at})
        pieces = [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]
        parser = OutputParser(form=form, names=["write", "write_all"], texts={"write": kinds})
        assert read(parser, pieces) == [("write", arguments)]


def _tagged(tags: Tags, arguments: Mapping[str, Any]) -> str:
    return "".join(
        tags.opening
        + name
        + tags.middle
        + (value if isinstance(value, str) else json.dumps(value))
        + tags.closing
        for name, value in arguments.items()
    )


def test_a_text_is_plain_where_nothing_else_is_asked_of_it() -> None:
    kinds = {each.name: each.is_text for each in parameters_of(SCHEMAS["write"])}
    assert kinds == {"text": True, "mode": True, "code": False, "note": False, "size": False}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"anyOf": [{"required": ["a"]}]}, "anyOf"),
        ({"minProperties": 1}, "minProperties"),
        ({"properties": {"a": {"$ref": "#/properties/b"}, "b": {}}}, "refers to"),
        ({"properties": {"a<b": {}}}, "argument called"),
        ({"properties": {"a": False}}, "'a' has no schema"),
    ],
)
def test_what_a_list_of_arguments_cannot_follow_is_refused(schema: Any, says: str) -> None:
    tools = (Tool("f", "", json.dumps(schema)),)
    with pytest.raises(InvalidRequest, match=says) as raised:
        compiled(Shape(FORMS[0], tools, ToolUse(("f",))))
    assert raised.value.param == "tools[0].function.parameters"


def test_tags_that_are_control_tokens_stand_by_their_ids() -> None:
    def split(text: str) -> list[str | int]:
        before, found, after = text.partition("</arg_value>")
        parts: list[str | int] = [before] if before else []
        return [*parts, *([9] if found else []), *([after] if after else [])]

    wanted = Shape(FORMS[1], TOOLS, ToolUse(("write",), required=True))
    text = json.loads(compose(wanted, split, None))["grammars"][0]["lark_grammar"]
    assert 'VALUE_0_0? <[9]> "\\n"' in text
    assert '("new file" | "append") <[9]> "\\n"' in text
