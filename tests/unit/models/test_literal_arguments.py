"""Calls as Python or Gemma 4 write them: read in any pieces, and under a grammar."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.literal_arguments import GEMMA4, LFM, LLAMA_PYTHON, recognised, speaking
from models.output_parser import OutputParser
from models.parts import join_calls
from models.tool_format import ToolFormat
from models.types import CallDelta, Tool, ToolUse
from models.worker.answer_grammar import Shape
from tests.unit.models.test_answer_grammar import compiled, read, write
from tests.unit.models.test_output_parser import cut

FORMS = (LFM, LLAMA_PYTHON, GEMMA4)
NODE = {
    "type": "object",
    "properties": {
        "v": {"type": "integer", "minimum": 3},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["v"],
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 5},
        "b": {"type": "boolean"},
        "c": {"type": ["integer", "null"]},
        "d": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"x": {"type": "boolean"}, "y": {"enum": ["p", 'q"r', None, True]}},
                "required": ["y"],
            },
            "minItems": 1,
            "maxItems": 3,
        },
        "e": {"$ref": "#/$defs/node"},
        "f": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "g": {"const": False},
    },
    "required": ["b", "d", "g"],
    "$defs": {"node": NODE},
}

keys = st.text(alphabet="abc_", min_size=1, max_size=4)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(-9, 9)
    | st.text("a\"'\\<|\né", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def written(form: ToolFormat, calls: list[tuple[str, dict[str, Any]]]) -> str:
    made = [{"function": {"name": name, "arguments": given}} for name, given in calls]
    if form.literals is not None and form.literals.escapes:
        return speaking([{"role": "assistant", "content": "", "tool_calls": made}], form)[0][
            "content"
        ]
    texts = [f"{name}{{{gemma(given)[1:-1]}" for name, given in calls]
    return form.opening + (form.between or "").join(texts) + form.closing


def gemma(value: Any) -> str:
    """As Gemma 4's own template writes it."""
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, list):
        return f"[{','.join(map(gemma, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{gemma(each)}' for key, each in value.items())}}}"
    return json.dumps(value)


@given(
    st.sampled_from(FORMS),
    st.lists(
        st.tuples(st.sampled_from(["get", "get_it"]), st.dictionaries(keys, values, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_calls_become_json_however_the_text_is_cut(
    form: ToolFormat, calls: list[tuple[str, dict[str, Any]]], at: list[int]
) -> None:
    parser = OutputParser(form=form, names=("get", "get_it"))
    found = [part for piece in cut(written(form, calls), at) for part in parser.push(piece)]
    found += parser.finish()
    deltas = [part for part in found if isinstance(part, CallDelta)]
    assert deltas == found
    read_back = [(call.name, json.loads(call.arguments)) for call in join_calls(deltas)]
    assert read_back == calls


def test_single_quotes_are_quotes() -> None:
    parser = OutputParser(form=LFM, names=("f",))
    (call,) = join_calls(parser.push(LFM.opening + r"""f(a='it\'s "x"\n', b=True""" + LFM.closing))
    assert json.loads(call.arguments) == {"a": 'it\'s "x"\n', "b": True}


def shape(form: ToolFormat, schema: dict[str, Any], *, required: bool = True) -> Shape:
    tools = (Tool("f", "", json.dumps(schema)),)
    return Shape(form, tools, ToolUse(("f",), required=required, parallel=False))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("required", [True, False])
def test_arguments_follow_their_schema(form: ToolFormat, required: bool) -> None:
    wanted = shape(form, SCHEMA, required=required)
    begin = form.opening + "f" + form.middle
    for seed in range(12):
        said, _, ((name, arguments),) = read(wanted, write(compiled(wanted), begin, seed, 4000))
        assert (said, name) == ("", "f")
        jsonschema.validate(arguments, {**SCHEMA, "additionalProperties": False})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "said",
    [
        {"type": "integer", "minimum": 2, "maximum": 4},
        {"type": "string", "pattern": "^[a-c]{2}$"},
        {"type": ["boolean", "integer"], "maximum": 4},
        {"type": "integer", "anyOf": [{"maximum": 2}, {"type": "string"}]},
        {"allOf": [{"type": "string"}, {"maxLength": 2}]},
    ],
)
def test_conditions_on_a_value_hold(form: ToolFormat, said: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": said}, "required": ["a"]}
    wanted = shape(form, schema)
    for seed in range(4):
        jsonschema.validate(read(wanted, write(compiled(wanted), "", seed))[2][0][1], schema)


@pytest.mark.parametrize(
    ("form", "named", "said"),
    [
        (LFM, "'a b'", {"a b": {}}),
        (LFM, "uniqueItems", {"a": {"type": "array", "uniqueItems": True}}),
        (LFM, "prefixItems", {"a": {"type": "array", "prefixItems": [{}]}}),
        (GEMMA4, "format", {"a": {"type": "string", "format": "date"}}),
        (GEMMA4, "pattern", {"a": {"type": "string", "pattern": r"\bx"}}),
    ],
)
def test_what_cannot_be_followed_is_named(
    form: ToolFormat, named: str, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest, match=named) as raised:
        compiled(shape(form, {"type": "object", "properties": said}))
    assert raised.value.param == "tools[0].function.parameters"


def test_text_may_stand_in_the_place_of_a_call() -> None:
    for form in FORMS:
        matcher = compiled(shape(form, SCHEMA, required=False))
        for byte in b"[g(1), f] (well) <b>":
            assert matcher.allowed()[byte]
            matcher.consume(byte)


def test_templates_are_known_by_what_they_say() -> None:
    assert recognised("… <|tool_list_start|> …") == LFM
    assert recognised("'<|tool_call>call:' + name") == GEMMA4
    assert recognised("in the format [func_name1(params_name1=value)]") == LLAMA_PYTHON
    assert recognised("{{ messages }}") is None
