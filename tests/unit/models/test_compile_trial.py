"""Schemas whose parts multiply end a process of their own, not the worker or its threads."""

import json
from typing import Any

import pytest

from models.errors import InvalidRequest
from models.types import Constraint
from models.worker.compile_trial import ends, risky
from models.worker.structured import Grammars
from tests.unit.models.grammar_walk import vocabulary

PATTERNS = [{"pattern": f"[a-z]{{{n}}}x"} for n in range(1, 40)]
BELOW = [{"properties": {"a": {"properties": {"b": each}}}} for each in PATTERNS]
BOTH = "start: BOTH\nBOTH: /[a-z]+/ & /.{3}/"
DOUBLED = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}


def compiled(kind: Any, text: str, param: str = "grammar") -> None:
    grammars: Grammars = vocabulary().grammars
    grammars.compile(Constraint(kind, text, param)).result(300)


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": BELOW},
        {"allOf": [{"items": each} for each in PATTERNS]},
        {"$ref": "#/$defs/d0", "$defs": {**DOUBLED, "d40": {"properties": {"a": PATTERNS[0]}}}},
    ],
)
def test_what_has_no_end_in_reasonable_time_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="takes too long, or too much") as caught:
        compiled("json_schema", json.dumps(schema), "response_format")
    assert caught.value.param == "response_format"


def test_an_ordinary_schema_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(grammar: str) -> bool:
        raise AssertionError(grammar)

    monkeypatch.setattr("models.worker.structured.ends", fail)
    person: Any = {"type": "object", "properties": {"name": {"type": "string"}, "age": {}}}
    compiled("json_schema", json.dumps({"properties": {"people": {"items": person}}}))
    compiled("json_schema", json.dumps({"$ref": "#/$defs/a", "$defs": {"a": person}}))
    compiled("json_schema", json.dumps({"anyOf": [person, {"type": "null"}]}))
    compiled("lark", 'start: "a" | /[b&]+/')
    compiled("lark", BOTH, param="")  # the gateway's own
    for kind, text in (
        ("json_schema", json.dumps({"allOf": [person, {"required": ["name"]}]})),
        ("lark", BOTH),
    ):
        with pytest.raises(InvalidRequest):
            compiled(kind, text)


def test_a_trial_tells_an_end_from_none() -> None:
    (part,) = risky(json.dumps({"grammars": [{"json_schema": {"allOf": [{}, {"minimum": 1}]}}]}))
    assert ends(part)
    assert ends('{"grammars": [{"lark_grammar": "start: nowhere"}]}')  # an error is one
