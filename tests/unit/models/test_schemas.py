import json
import tracemalloc
from itertools import product
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.worker.disjoint import Disjointness
from models.worker.schemas import MAPS, VALUES, prepare

SCALARS: list[Any] = [None, True, False, 0, 1, 1.5, 2, -3, "", "a", "b", "longer"]
OBJECTS: list[Any] = [
    dict(zip(names, values, strict=True))
    for names in ((), ("p",), ("q",), ("p", "q"))
    for values in product(["a", "b", 1, None], repeat=len(names))
]
POOL: list[Any] = [*SCALARS, *OBJECTS, [], [1], [1, "a"], ["a", "b", 1]]

leaves = st.one_of(
    st.sampled_from(
        [
            {},
            {"type": "string"},
            {"type": "integer"},
            {"type": "number"},
            {"type": ["string", "null"]},
            {"type": "array", "minItems": 2},
            {"type": "array", "maxItems": 1},
            {"type": "string", "maxLength": 1},
            {"type": "string", "minLength": 2},
            {"type": "number", "minimum": 1},
            {"type": "number", "maximum": 0},
            {"minLength": 5},
            {"$ref": "#/$defs/word"},
            {"$ref": "#/$defs/round"},
            False,
        ]
    ),
    st.builds(lambda v: {"const": v}, st.sampled_from([1, 1.0, True, "a", "b", None])),
    st.builds(lambda v: {"enum": v}, st.lists(st.sampled_from(SCALARS), min_size=1, max_size=3)),
)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["p", "q"])
    return st.builds(
        lambda properties, required, closed: {
            "type": "object",
            "properties": properties,
            "required": sorted(required),
            **({"additionalProperties": False} if closed else {}),
        },
        st.dictionaries(names, values, max_size=2),
        st.sets(names),
        st.booleans(),
    )


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        objects(inner), st.builds(lambda b: {"anyOf": b}, st.lists(inner, min_size=1, max_size=2))
    ),
    max_leaves=4,
)
DEFS = {"word": {"type": "string"}, "round": {"$ref": "#/$defs/round"}}


@given(schemas, schemas)
def test_what_is_called_disjoint_has_no_value_in_common(one: Any, other: Any) -> None:
    root = {"$defs": DEFS}
    if not Disjointness(root).shown(one, other):
        return
    if "round" in json.dumps([one, other]):
        return  # the reference validator follows a circle for ever
    first = jsonschema.Draft202012Validator({"$defs": DEFS, "allOf": [one, other]})
    assert not [value for value in POOL if first.is_valid(value)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "string"}, {"type": "integer"}),
        ({"const": "a"}, {"enum": ["b", "c"]}),
        ({"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}),
        (
            {"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"const": 2}}, "required": ["k"]},
        ),
        (
            {"type": "object", "required": ["a"]},
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
        ),
        ({"$ref": "#/$defs/word"}, {"type": "null"}),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, {"type": "array"}),
    ],
)
def test_disjoint_branches_become_any_of(one: Any, other: Any) -> None:
    found = json.loads(prepare(json.dumps({"$defs": DEFS, "oneOf": [one, other]})))
    assert opened(found) == opened({"$defs": DEFS, "anyOf": [one, other]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "integer"}, {"type": "number"}),
        ({"const": 1}, {"const": 1.0}),
        ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["a"]}),
        ({"$ref": "#/$defs/round"}, {"type": "null"}),
        ({"$ref": "elsewhere.json"}, {"type": "null"}),
        ({}, {"type": "null"}),
    ],
)
def test_branches_that_may_overlap_stay_one_of(one: Any, other: Any) -> None:
    given_ = {"$defs": DEFS, "properties": {"x": {"oneOf": [one, other]}}}
    assert opened(json.loads(prepare(json.dumps(given_)))) == given_


def opened(schema: Any) -> Any:
    """Without the word that closes objects, which is no part of these tests."""
    if isinstance(schema, dict):
        said: dict[str, Any] = schema
        return {k: opened(said[k]) for k in said.keys() - {"additionalProperties"}}
    return [opened(each) for each in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"enum": ["' + "x" * 1_000_000 + '"]}', "characters"),
        ("[" * 1000 + "]" * 1000, "nested"),
        ('{"multipleOf": 999983}', "'multipleOf' is 999983"),
        ('{"multipleOf": 1.000003}', "'multipleOf' is 1.000003"),
        ('{"multipleOf": 1' + "0" * 4000 + "}", "'multipleOf' is 1000"),
        ('{"allOf": [{"multipleOf": 997}, {"multipleOf": 1009}]}', "no common multiple"),
        ("{", "not JSON"),
        ('{"oneOf": [' + ",".join(["{}"] * 201) + "]}", "'oneOf' has 201 branches"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_too_much_is_refused_and_named(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        prepare(text)


def test_branches_share_the_properties_of_their_parent() -> None:
    """A copy for each branch would take gigabytes."""
    names = {f"p{n}": {} for n in range(6_000)}
    parent = {"type": "object", "properties": names, "oneOf": [{}] * 200}
    tracemalloc.start()
    try:
        prepare(json.dumps(parent))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_names_without_number_are_given_up() -> None:
    names = [f"p{n}" for n in range(5_000)]
    parent = {"type": "object", "required": names, "oneOf": [{"const": n} for n in range(200)]}
    assert "oneOf" in json.loads(prepare(json.dumps(parent)))


KEPT = sorted(MAPS - {"dependencies", "dependentSchemas"})  # these are said with others
KEYWORDS = sorted(MAPS | VALUES | {"format", "multipleOf", "oneOf", "allOf", "uniqueItems", "$ref"})


@pytest.mark.parametrize("keyword", KEPT)
@pytest.mark.parametrize("name", KEYWORDS)
@pytest.mark.parametrize(
    "bad", [{"type": "object", "minProperties": 3}, {"type": "integer", "multipleOf": 1_000_003}]
)
def test_a_property_may_be_called_like_a_keyword(keyword: str, name: str, bad: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"minProperties|multipleOf"):
        prepare(json.dumps({keyword: {name: bad}}))
    found = json.loads(prepare(json.dumps({keyword: {name: {"format": "date"}}})))
    assert "allOf" in found[keyword][name]


@pytest.mark.parametrize(
    "map_",
    [
        {"multipleOf": {"type": "integer"}, "format": {"type": "string"}, "required": {}},
        {"minProperties": {"type": "integer"}, "oneOf": {"const": 1}, "allOf": {"const": 2}},
        {"uniqueItems": False, "$ref": {"type": "string"}, "x-guidance": {}},
        {"const": {"oneOf": [{"type": "null"}, {"type": "string"}]}, "anyOf": {}},
    ],
)
@pytest.mark.parametrize("keyword", KEPT)
def test_names_are_not_taken_for_keywords(keyword: str, map_: Any) -> None:
    found = json.loads(prepare(json.dumps({keyword: map_})))
    assert found[keyword].keys() == map_.keys()
    assert "anyOf" in found[keyword].get("const", {"anyOf": []})
    assert found[keyword].get("uniqueItems", False) is False


@pytest.mark.parametrize(
    "reference",
    [
        "#/default",
        "#/%64efault",
        "#%2Fdefault",
        "http://here/#/default",
        "#/$defs",
        "#/$defs/x/properties",
        "#/$defs/x/enum/0",
        "#/x-mine/const",
    ],
)
def test_a_reference_to_what_is_no_schema_is_refused(reference: str) -> None:
    """Nothing there was looked at."""
    with pytest.raises(InvalidRequest, match="does not lead to a schema"):
        prepare(json.dumps({"$ref": reference}))


@pytest.mark.parametrize(
    "reference",
    ["#", "#/$defs/default", "#/properties/enum/items", "#default", "#/allOf/0", "#/x-mine/a"],
)
def test_a_reference_to_a_schema_is_followed(reference: str) -> None:
    assert json.loads(prepare(json.dumps({"$ref": reference}))) == {"$ref": reference}


def test_what_nobody_knows_may_be_referred_to_and_is_checked() -> None:
    odd = {"$ref": "#/x-mine/a", "x-mine": {"a": {"type": "object", "minProperties": 3}}}
    with pytest.raises(InvalidRequest, match="minProperties"):
        prepare(json.dumps(odd))


def test_multiples_of_common_sizes_are_taken() -> None:
    sizes = [0.01, 1e-7, 2.5, 5, 60, 1000, True, "x", -3, 0]
    prepare(json.dumps({"anyOf": [{"multipleOf": size} for size in sizes]}))


def test_bounds_beyond_floats_are_compared() -> None:
    branches = [{"type": "number", "maximum": 10**400}, {"type": "number", "minimum": 10**401}]
    assert "anyOf" in json.loads(prepare(json.dumps({"oneOf": branches})))


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps({"const": '\\"' + "[" * 500, "enum": ["{" * 500]})
    assert prepare(text) == text


def test_what_the_parent_asks_helps_to_tell_its_branches_apart() -> None:
    branches = [{"properties": {"shape": {"enum": [name]}}} for name in ("square", "circle")]
    parent = {"type": "object", "required": ["shape"], "oneOf": branches}
    found = json.loads(prepare(json.dumps(parent)))
    assert found["anyOf"] == branches
    del parent["required"]
    found = json.loads(prepare(json.dumps(parent)))
    asked = {"type": "object", "required": ["shape"]}  # else they would not be apart
    assert [each["allOf"][1]["allOf"][0] for each in found["anyOf"]] == [asked, asked]


@pytest.mark.parametrize(
    "odd",
    [
        {"oneOf": [{"required": True, "type": "object"}, {"properties": [], "type": "object"}]},
        {"oneOf": 3},
        {"oneOf": [{"type": 5}, {"enum": 7}, None]},
        {"multipleOf": "x", "oneOf": []},
        [],
        7,
    ],
)
def test_odd_schemas_are_left_to_the_compiler(odd: Any) -> None:
    prepare(json.dumps(odd))


def test_values_that_look_like_schemas_are_left_as_they_are() -> None:
    schema = {"const": {"oneOf": [{"type": "null"}], "multipleOf": 10**9}, "enum": [{"oneOf": []}]}
    assert json.loads(prepare(json.dumps(schema))) == schema


def test_branches_without_end_are_given_up() -> None:
    doubling = {
        f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(60)
    } | {"a60": {"type": "null"}}
    circle = {"round": {"anyOf": [{"$ref": "#/$defs/round"}, {"type": "null"}]}}
    for name, defs in (("a0", doubling), ("round", circle)):
        one_of = [{"$ref": f"#/$defs/{name}"}, {"type": "string"}]
        found = json.loads(prepare(json.dumps({"$defs": defs, "oneOf": one_of})))
        assert found["oneOf"] == one_of


def test_what_says_nothing_is_left_out() -> None:
    assert prepare("true") == "{}"
    assert json.loads(prepare('{"uniqueItems": false, "type": "array"}')) == {"type": "array"}
    alone = {"then": {"minLength": 1}, "else": False, "maxContains": 2, "type": "array"}
    assert json.loads(prepare(json.dumps(alone))) == {"type": "array"}
    assert prepare('{"if": {"contains": {}}}') == "{}"


def test_a_count_may_be_written_with_a_point() -> None:
    given_ = {"type": "string", "minLength": 2.0, "maxLength": 3, "const": {"minLength": 2.0}}
    found = json.loads(prepare(json.dumps(given_)))
    assert str(found["minLength"]) == "2"
    assert str(found["const"]["minLength"]) == "2.0"
    assert json.loads(prepare('{"minLength": 2.5}')) == {"minLength": 2.5}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"x-guidance": {"lenient": True}}, "x-guidance"),
        ({"items": {"minProperties": 2, "type": "object"}}, "minProperties"),
    ],
)
def test_what_llguidance_would_take_and_not_do_is_refused(schema: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        prepare(json.dumps(schema))
