"""Keywords said with others: what follows the new schema follows the given one, and is not rare."""

import json
from itertools import product
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.types import Constraint
from models.worker.schemas import prepare
from tests.unit.models.grammar_walk import vocabulary

Draft: Any = jsonschema.Draft202012Validator

SCHEMAS: list[Any] = [
    {"type": "string", "not": {"enum": ["a", "ab", "", "b.c", 'q"']}},
    {"type": ["string", "integer"], "not": {"type": "string", "enum": ["USA", "CAN"]}},
    {"not": {"const": None}, "type": ["null", "boolean"]},
    {"type": ["string", "number", "null"], "not": {"type": ["null", "string"]}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["b"]}},
    {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y"]}, "n": {"type": "integer", "maximum": 9}},
        "required": ["kind"],
        "additionalProperties": False,
        "if": {"properties": {"kind": {"const": "x"}}},
        "then": {"required": ["n"]},
        "else": {"not": {"required": ["n"]}},
    },
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
        "additionalProperties": False,
        "dependentRequired": {"a": ["b"]},
    },
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": ["boolean", "null"]}},
        "additionalProperties": False,
        "dependentSchemas": {"a": {"properties": {"b": {"type": "null"}}, "required": ["b"]}},
    },
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
        "additionalProperties": {"type": "integer"},
        "dependencies": {"a": ["b"]},
        "minProperties": 1,
    },
    {
        "type": "object",
        "properties": {name: {"type": "null"} for name in "abcd"},
        "additionalProperties": False,
        "minProperties": 2,
        "maxProperties": 3,
    },
    {"type": "array", "items": {"enum": ["r", "g", "b"]}, "uniqueItems": True, "minItems": 1},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 1},
    {
        "type": "object",
        "properties": {"a": {"type": "null"}},
        "unevaluatedProperties": False,
    },
    {
        "type": "object",
        "oneOf": [
            {"properties": {"a": {"type": "null"}}, "required": ["a"]},
            {"properties": {"b": {"type": "null"}}, "required": ["b"]},
        ],
    },
    {
        "type": "object",
        "oneOf": [
            {"properties": {"c": {"enum": ["x"]}, "n": {"type": "null"}}},
            {"properties": {"c": {"enum": ["y"]}, "m": {"type": "null"}}},
            {"properties": {"c": {"not": {"type": "string", "enum": ["x", "y"]}}}},
        ],
    },
    {
        "oneOf": [
            {"type": "object", "properties": {"$n": {"type": "null"}}, "required": ["$n"]},
            {
                "type": "object",
                "patternProperties": {"^[a-c]": {"type": "null"}},
                "additionalProperties": False,
            },
        ]
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_what_is_written_follows_the_schema(schema: Any) -> None:
    found = [vocabulary().walk(Constraint("json_schema", json.dumps(schema)), n) for n in range(12)]
    written = [text for text in found if text is not None]
    assert written
    for text in written:
        Draft(schema).validate(json.loads(text))


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"properties": {"a": {"pattern": "x"}}}},
        {"not": {"type": "integer"}},
        {"if": {"pattern": "x"}, "then": {"minLength": 3}},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "minProperties": 3, "properties": {"a": {}}},
        {"oneOf": [{"required": ["a"]}, {"required": ["a", "b"]}]},
        {"oneOf": [{"type": "string"}, {"type": "string", "minLength": 2}]},
    ],
)
def test_what_would_leave_next_to_nothing_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest):
        vocabulary().grammars.compile(Constraint("json_schema", json.dumps(schema))).result()


NAMES = ("a", "b")
POOL: list[Any] = [
    *(None, True, 0, 1, 1.5, "", "a", "ab", "x", [], ["a"], ["a", "a"], ["a", "x"]),
    *(
        {name: value for name, value in zip(NAMES, values, strict=True) if value != "absent"}
        for values in product(["absent", "a", "x", 1, None], repeat=2)
    ),
    {"c": 1},
    {"a": "a", "b": 1, "c": None},
]
values = st.sampled_from([None, True, 1, "a", "ab", "x"])
simple = st.one_of(
    st.sampled_from([{}, {"type": "string"}, {"type": ["object", "null"]}, {"type": "boolean"}]),
    values.map(lambda value: {"const": value}),
    st.lists(values, min_size=1, max_size=3).map(lambda found: {"enum": found}),
    st.lists(st.sampled_from(NAMES), max_size=2).map(lambda found: {"required": found}),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("object"),
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
            "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            "additionalProperties": st.booleans(),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "oneOf": st.lists(inner, min_size=1, max_size=3),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "dependentRequired": st.dictionaries(
                st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=1), max_size=2
            ),
            "dependentSchemas": st.dictionaries(st.sampled_from(NAMES), inner, max_size=1),
            "uniqueItems": st.booleans(),
            "items": inner,
            "unevaluatedProperties": st.just(False),
        },
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.recursive(simple, objects, max_leaves=6))
def test_no_value_gains(schema: Any) -> None:
    """What the rewritten schema takes, the given one takes as well."""
    try:
        prepared = Draft(json.loads(prepare(json.dumps(schema))))
    except InvalidRequest:
        return
    given_ = Draft(schema)
    assert not [value for value in POOL if prepared.is_valid(value) and not given_.is_valid(value)]
