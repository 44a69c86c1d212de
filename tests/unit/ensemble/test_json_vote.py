import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.json_vote import canonical, free_fields, grounding, vote_on_json
from gateway.ensemble.prompt import number_passages
from tests.unit.ensemble.passages import ROUTER, WARRANTY

FREE = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "months": {"type": "integer"}},
    "additionalProperties": False,
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def votes(*values: object, schema: object = FREE, weights: list[float] | None = None) -> object:
    texts = [json.dumps(value) for value in values]
    found = vote_on_json(texts, weights or [1.0] * len(texts), json.dumps(schema))
    return json.loads(found.text)


def test_each_field_is_voted_on_by_itself() -> None:
    assert votes(
        {"colour": "blue", "months": 12},
        {"colour": "red", "months": 24},
        {"months": 24, "colour": "blue"},
    ) == {"colour": "blue", "months": 24}


def test_a_field_that_most_leave_out_is_left_out() -> None:
    assert votes({"colour": "blue"}, {"months": 1}, {"colour": "blue"}) == {"colour": "blue"}


def test_fields_that_depend_on_each_other_are_voted_on_together() -> None:
    tied = {**FREE, "anyOf": [{"required": ["colour"]}, {"required": ["months"]}]}
    one, two = {"colour": "blue", "months": 12}, {"colour": "red", "months": 24}
    assert votes(one, two, {"colour": "red", "months": 12}, schema=tied) == one
    assert votes(one, two, two, schema=tied) == two
    assert free_fields(tied) == free_fields({"type": "object"}) == free_fields(True) == []


def test_weights_and_ties() -> None:
    assert votes([1], [2], schema=True, weights=[1.0, 2.0]) == [2]
    assert votes([1], [2], schema=True) == [1]
    assert votes({"colour": "a"}, {"colour": "b"}, weights=[0.1, 0.1]) == {"colour": "a"}


def test_equal_json_is_one_vote() -> None:
    assert canonical({"b": 1.0, "a": " x  y"}) == canonical({"a": "x y", "b": 1})
    assert votes({"a": [1, 2]}, {"a": [2, 1]}, {"a": [1.0, 2]}, schema=True) == {"a": [1, 2]}


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_the_winner_is_one_of_the_votes(values: list[object]) -> None:
    found = vote_on_json([json.dumps(v) for v in values], [1.0] * len(values), "true")
    assert 0 < found.agreement <= 1
    assert canonical(json.loads(found.text)) in [canonical(value) for value in values]


def test_json_is_grounded_by_its_leaves() -> None:
    passages = number_passages([ROUTER, WARRANTY])
    text = json.dumps({"hold": "12 seconds", "months": 48, "ok": True, "note": None})
    assert grounding(text, passages) == (True, (1, 2))
    assert grounding(json.dumps({"hold": "13 hours"}), passages) == (False, ())
    assert grounding("true", passages) == (False, ())
