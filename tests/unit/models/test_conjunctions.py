"""Patterns that one text must match at once are few: twenty of them end a worker's memory."""

import json
from typing import Any

import pytest

from models.errors import InvalidRequest
from models.types import Constraint
from models.worker.conjunctions import MOST_TOGETHER, terminals_together
from models.worker.schemas import prepare
from tests.unit.models.grammar_walk import vocabulary

MANY = [{"pattern": f"[a-z]{{{n}}}x"} for n in range(1, 40)]
NAMED = [{"properties": {"a": each}, "type": "object"} for each in MANY]
CHAIN = {f"d{n}": {**each, "$ref": f"#/$defs/d{n + 1}"} for n, each in enumerate(MANY)}
LONG = {f"d{n}": {"pattern": "x", "$ref": f"#/$defs/d{n + 1}"} for n in range(2000)}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "allOf": MANY},
        {"type": "string", "allOf": [{"allOf": MANY[:20]}, {"anyOf": [{}, {"allOf": MANY[20:]}]}]},
        {"type": "object", "allOf": NAMED},
        {"$ref": "#/$defs/d0", "$defs": {**CHAIN, "d39": {"type": "string"}}},
        {"items": {"allOf": MANY}},
        {"$ref": "#/$defs/d0", "$defs": LONG},
    ],
)
def test_a_text_of_many_patterns_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="'pattern's at once"):
        prepare(json.dumps(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "anyOf": MANY},
        {"type": "string", "allOf": MANY[:MOST_TOGETHER]},
        {"properties": {f"p{n}": each for n, each in enumerate(MANY)}},
        {"allOf": [{"properties": {f"p{n}": each}} for n, each in enumerate(MANY)]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, *MANY[:3]]}}},
    ],
)
def test_patterns_of_different_texts_are_not_counted_together(schema: Any) -> None:
    prepare(json.dumps(schema))


def test_a_lark_grammar_of_many_conjunctions_is_refused() -> None:
    grammar = "start: A\nA: " + " & ".join(f"/(.|\\n)*[a-z]{{{n}}}x/" for n in range(1, 40))
    with pytest.raises(InvalidRequest, match="more '&' than"):
        vocabulary().grammars.compile(Constraint("lark", grammar, "grammar")).result(60)


def test_an_ampersand_in_a_text_is_none() -> None:
    assert terminals_together('start: "&amp;" | /[&]\\/&/ // & so on\nA: /x/ & "&"') == 2
