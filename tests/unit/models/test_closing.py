"""Objects that list their properties get no others, wherever what was asked stays possible."""

import json
from typing import Any

import llguidance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.types import Constraint
from models.worker.schemas import prepare
from tests.unit.models.grammar_walk import vocabulary

A: Any = {"type": "object", "properties": {"a": {"type": "integer"}}}
B: Any = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}


def prepared(schema: Any) -> Any:
    return json.loads(prepare(json.dumps(schema)))


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (A, 1),
        ({**A, "required": ["c"]}, 1),
        ({"type": "array", "items": A}, 1),
        ({"type": "object", "properties": {"x": A, "y": {"items": A}}}, 3),
        ({"anyOf": [A, B, {"type": "null"}]}, 2),
        ({"title": "T", "allOf": [A]}, 1),
        ({"$ref": "#/$defs/x", "$defs": {"x": A}}, 1),
        ({"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": A, "unused": A}}, 2),
        ({"properties": {"x": {"$ref": "#"}}}, 1),
        ({"additionalProperties": A}, 1),
    ],
)
def test_an_object_that_lists_its_properties_takes_no_others(schema: Any, closed: int) -> None:
    assert json.dumps(prepared(schema)).count('"additionalProperties": false') == closed


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {**A, "additionalProperties": True},
        {**A, "patternProperties": {"^x": A}},
        {**A, "unevaluatedProperties": {"type": "integer"}},
        {"allOf": [A, B]},
        {**A, "anyOf": [B, {"required": ["c"]}]},
        {"anyOf": [A, B], "required": ["c"]},
        {"$ref": "#/$defs/x", "required": ["b"], "$defs": {"x": A}},
        {"anyOf": [{"type": "array", "items": A}], "items": B},
        {"allOf": [{"properties": {"x": A}}, {"properties": {"x": B}}]},
        {"allOf": [{"$ref": "#/$defs/y"}, B], "$defs": {"x": A, "y": {"$ref": "#/$defs/x"}}},
        {"$ref": "#x", "$defs": {"x": {**A, "$anchor": "x"}}},
    ],
)
def test_what_others_speak_of_too_stays_open(schema: Any) -> None:
    before = json.dumps(schema).count('"additionalProperties": false')
    assert json.dumps(prepared(schema)).count('"additionalProperties": false') == before


def test_what_is_closed_in_one_place_and_not_in_another_stays_open() -> None:
    places = {"alone": {"$ref": "#/$defs/x"}, "beside": {"allOf": [{"$ref": "#/$defs/x"}, B]}}
    found = prepared({"properties": places, "$defs": {"x": A}})
    assert found["additionalProperties"] is False
    assert "additionalProperties" not in found["$defs"]["x"]


def test_a_required_name_that_is_not_listed_can_be_written() -> None:
    schema: Any = {**A, "required": ["c", "a", "a"]}
    found = vocabulary().walk(Constraint("json_schema", json.dumps(schema)), 1)
    assert found is not None
    assert json.loads(found).keys() == {"a", "c"}


NAMES = st.sampled_from("abc")
LEAVES = st.sampled_from([{"type": "integer"}, {"enum": ["x", "y"]}, {"type": "null"}])


def objects(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    listed = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, children, max_size=3)},
        optional={"required": st.lists(NAMES, max_size=2, unique=True)},
    )
    several = st.lists(children, min_size=1, max_size=3)
    combined = st.one_of(
        st.fixed_dictionaries({"anyOf": several}),
        st.fixed_dictionaries({"allOf": several}),
        st.just({"$ref": "#/$defs/x"}),
    )
    both = st.tuples(listed, combined).map(lambda pair: {**pair[0], **pair[1]})
    return st.one_of(listed, combined, both, children.map(lambda items: {"items": items}))


SCHEMAS = st.recursive(LEAVES, objects, max_leaves=6)
SHARED = st.fixed_dictionaries({"properties": st.dictionaries(NAMES, LEAVES, max_size=2)})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, SHARED)
def test_what_can_be_answered_open_can_be_answered_closed(schema: Any, shared: Any) -> None:
    text = json.dumps({**schema, "$defs": {"x": shared}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.worker.schemas.close", open_)
        possible = can_be_answered(text)
    assert can_be_answered(text) == possible


def open_(root: object) -> None:
    """Leave a schema as it is."""


def can_be_answered(schema: str) -> bool:
    """Whether it compiles, and its first token has a choice."""
    try:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(prepare(schema))
    except InvalidRequest:
        return False
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
    return not matcher.is_error() and any(matcher.compute_logit_bias())
