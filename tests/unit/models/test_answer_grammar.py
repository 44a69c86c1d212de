"""Random answers under the grammars of tools: every call that is written follows its schema."""

import json
import random
from typing import Any

import jsonschema
import llguidance
import pytest

from models.errors import InvalidRequest
from models.output_parser import Thinking
from models.parts import Content, Part, Thought
from models.tool_format import Reasoning, ToolFormat
from models.types import CallDelta, Constraint, Tool, ToolUse
from models.worker.answer_grammar import Shape, compose
from models.worker.structured import Grammars, Matcher
from tests.unit.models.test_output_parser import FORMATS, GENERIC, HERMES, LLAMA3, MISTRAL_NEW

THINK = Reasoning("<think>", "</think>")
SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 4},
            "days": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["city"],
    },
    "get": {"type": "object", "properties": {}},
    "stop": {
        "properties": {"at": {"enum": ["a", "b"]}, "deep": {"properties": {"x": {"const": 1}}}},
        "required": ["at"],
    },
}
TOOLS = tuple(Tool(name, "", json.dumps(schema)) for name, schema in SCHEMAS.items())
NAMES = tuple(SCHEMAS)
BYTES = llguidance.LLTokenizer("byte")
CLOSING = {*b'"}]<', BYTES.eos_token}
GRAMMARS = Grammars(lambda: BYTES, lambda text: [text], BYTES.vocab_size)


def shape(form: ToolFormat, *, thinking: Thinking = "no", **use: Any) -> Shape:
    wanted = ToolUse(NAMES, **use)
    return Shape(form, TOOLS, wanted, THINK if thinking != "no" else None, thinking)


def compiled(wanted: Shape, body: Constraint | None = None) -> Matcher:
    return GRAMMARS.compile(body, wanted).result().copy()


def write(matcher: Matcher, begin: str, seed: int, limit: int = 600) -> str:
    """The beginning, which the grammar must take, and then at random to the end."""
    for byte in begin.encode():
        assert matcher.allowed()[byte], f"{chr(byte)!r} of {begin!r}"
        matcher.consume(byte)
    draw, text = random.Random(seed), bytearray(begin.encode())
    while len(text) < limit and not matcher.stopped:
        allowed = matcher.allowed().nonzero()[0].tolist()
        closing = [byte for byte in allowed if byte in CLOSING]
        byte = draw.choice(closing if closing and draw.random() < 0.7 else allowed)
        if byte == BYTES.eos_token:
            return text.decode("utf-8", "replace")
        matcher.consume(byte)
        text.append(byte)
    assert matcher.stopped, text
    return text.decode("utf-8", "replace")


def read(wanted: Shape, text: str) -> tuple[str, str, list[tuple[str, Any]]]:
    parser = wanted.parser()
    parts: list[Part] = [*parser.push(text), *parser.finish()]
    calls: dict[int, list[str]] = {}
    for part in parts:
        if isinstance(part, CallDelta):
            calls.setdefault(part.index, [part.name, ""])[1] += part.arguments
    return (
        "".join(part.text for part in parts if isinstance(part, Content)),
        "".join(part.text for part in parts if isinstance(part, Thought)),
        [(name, json.loads(arguments)) for name, arguments in calls.values()],
    )


def check(calls: list[tuple[str, Any]]) -> None:
    for name, arguments in calls:
        closed = SCHEMAS[name] | {"type": "object", "additionalProperties": False}
        jsonschema.validate(arguments, closed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("form", FORMATS)
def test_a_call_that_must_be_made_is_made(form: ToolFormat, seed: int) -> None:
    wanted = shape(form, required=True)
    content, _, calls = read(wanted, write(compiled(wanted), "", seed))
    assert content == ""
    assert calls
    check(calls)


@pytest.mark.parametrize("form", FORMATS)
def test_one_call_where_no_more_are_wanted(form: ToolFormat) -> None:
    wanted = shape(form, required=True, parallel=False)
    for seed in range(8):
        assert len(read(wanted, write(compiled(wanted), "", seed))[2]) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_text_may_stand_in_the_place_of_a_call(form: ToolFormat) -> None:
    wanted = shape(form)
    matcher = compiled(wanted)
    for byte in b'Well, {"name": "none of them"} <b>!':
        assert matcher.allowed()[byte]
        matcher.consume(byte)
    assert matcher.allowed()[BYTES.eos_token]


@pytest.mark.parametrize("form", FORMATS)
def test_a_call_that_is_begun_is_a_call(form: ToolFormat) -> None:
    wanted = shape(form)
    number = f"{form.id_mark}abc123def" if form.id_mark else ""
    said = "I look it up.\n" if form.marker else ""
    for seed in range(4):
        begin = f"{said}{form.opening}get_weather{number}{form.middle}"
        content, _, calls = read(wanted, write(compiled(wanted), begin, seed))
        assert content == said.strip()
        assert calls[0][0] == "get_weather"
        check(calls)


@pytest.mark.parametrize(
    "begin",
    [
        '{"name":"get","arguments":',
        '\n{\n "name" : "get",\n "arguments" : ',
        '```json\n{"name": "stop"',
    ],
)
def test_unmarked_calls_are_calls_however_they_are_spaced(begin: str) -> None:
    wanted = shape(GENERIC)
    for seed in range(4):
        content, _, calls = read(wanted, write(compiled(wanted), begin, seed))
        assert (content, bool(calls)) == ("", True)
        check(calls)


def test_asking_about_one_token_is_as_asking_about_all() -> None:
    matcher = compiled(shape(HERMES, thinking="may"))
    for byte in b'<think>a</think>\nb <tool_call>\n{"name": "get", "arguments": {}}\n</tool_call>':
        allowed = matcher.allowed()
        assert [matcher.allows(token) for token in range(BYTES.vocab_size)] == allowed.tolist()
        matcher.consume(byte)


def test_nothing_spells_a_call_of_an_unknown_function() -> None:
    for form in (HERMES, MISTRAL_NEW):
        matcher = compiled(shape(form))
        for byte in form.opening.encode():
            matcher.consume(byte)
        assert not matcher.allowed()[ord("x")]


@pytest.mark.parametrize("thinking", ["may", "open"])
@pytest.mark.parametrize("form", FORMATS)
def test_thoughts_come_before_the_calls(form: ToolFormat, thinking: Thinking) -> None:
    wanted = shape(form, thinking=thinking, required=True)
    begin = ("<think>" if thinking == "may" else "") + '\nhm, {"name": <b>?\n</think>\n\n'
    for seed in range(4):
        content, thoughts, calls = read(wanted, write(compiled(wanted), begin, seed))
        assert (content, thoughts) == ("", 'hm, {"name": <b>?')
        check(calls)


@pytest.mark.parametrize(
    "body",
    [
        Constraint("json_schema", json.dumps({"enum": [1, 2]})),
        Constraint("regex", "[12]"),
        Constraint("lark", 'start: %json {"enum": [1, 2]}'),
        Constraint("lark", '%llguidance {}\nstart: "1" | TWO\nTWO: /2/'),
        Constraint("gbnf", "root ::= [1-2]"),
    ],
    ids=lambda body: body.grammar[:16],
)
def test_a_format_holds_after_the_thoughts(body: Constraint) -> None:
    wanted = Shape(HERMES, reasoning=THINK, thinking="may")
    text = write(compiled(wanted, body), "<think>3? no</think>\n\n", 0)
    assert read(wanted, text)[:2] in [("1", "3? no"), ("2", "3? no")]
    assert read(wanted, write(compiled(wanted, body), "1", 0))[0] == "1"


def test_a_call_or_the_format_that_was_asked_for() -> None:
    body = Constraint("json_schema", json.dumps({"enum": [1, 2]}))
    wanted = shape(HERMES)
    assert read(wanted, write(compiled(wanted, body), "1", 0)) == ("1", "", [])
    calls = read(wanted, write(compiled(wanted, body), "<tool_call>", 0))[2]
    assert calls
    check(calls)
    with pytest.raises(InvalidRequest, match="response_format"):
        compiled(shape(LLAMA3), body)


def test_control_tokens_are_written_as_such() -> None:
    """A marker that is a token of its own stands in the grammar by its id."""

    def split(text: str) -> list[str | int]:
        before, found, after = text.partition("<tool_call>")
        parts: list[str | int] = [before] if before else []
        parts += [7] if found else []
        return [*parts, after] if after else parts

    text = json.loads(compose(shape(HERMES), split, None))["grammars"][0]["lark_grammar"]
    assert '<[7]> "\\n{\\"name\\": \\""' in text
    assert "TEXT? calls?" in text


def test_a_schema_that_cannot_be_followed_names_its_tool() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"properties": {"a": deep}}
    tools = (TOOLS[0], Tool("deep", "", json.dumps(deep)))
    wanted = Shape(GENERIC, tools, ToolUse(("deep",), required=True))
    with pytest.raises(InvalidRequest, match="tool 'deep'") as raised:
        compiled(wanted)
    assert raised.value.param == "tools[1].function.parameters"
