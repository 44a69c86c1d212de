"""A value that is none of a few names those few, in requests, files and variables alike."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.body import decode
from gateway.config_files import load_configuration
from gateway.errors import BadRequest
from gateway.offered import instead_of
from gateway.schema.chat import ChatRequest
from gateway.schema.ensemble import EnsembleOverride
from gateway.toml import ConfigError

STRATEGIES = (
    "'first_non_blank', 'grounded', 'majority', 'weighted', 'confidence', 'consensus', 'judge'"
)
ASKED = '{"model": "m", "messages": [{"role": "user", "content": "x"}]'


class Circle(Struct, tag_field="shape", tag="circle"):
    line: Literal["thin", "thick"]


class Square(Struct, tag_field="shape", tag="square"):
    line: Literal["dotted"]


class Page(Struct):
    drawn: list[Circle | Square] = []
    named: dict[str, Annotated[Literal[1, 2], Meta(title="a number")] | None] = {}
    colour: Literal["red"] | UnsetType = UNSET


@pytest.mark.parametrize(
    ("path", "value", "known"),
    [
        ("drawn[1].line", {"drawn": [{}, {"shape": "square", "line": "a"}]}, "'dotted'"),
        ("drawn[0].line", {"drawn": [{"shape": "circle", "line": "a"}]}, "'thick', 'thin'"),
        ("drawn[0].shape", {"drawn": [{"shape": "a"}]}, "'circle', 'square'"),
        ("named[...]", {"named": {"a": 3}}, "1, 2"),
        ("colour", {"colour": "a"}, "'red'"),
    ],
)
def test_what_there_is_follows_from_the_place(path: str, value: Any, known: str) -> None:
    assert instead_of("Invalid enum value 'a'", path, value, Page) == f"'a' is none of {known}"


@pytest.mark.parametrize("path", ["", "nowhere", "drawn[7].line.x", "colour[0]"])
def test_a_place_that_is_not_known_leaves_the_words_as_they_are(path: str) -> None:
    assert instead_of("Invalid enum value 'a'", path, [], Page) == "Invalid enum value 'a'"
    assert instead_of("Expected `int`", "colour", {}, Page) == "Expected `int`"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (', "ensemble": {"strategy": "x"}}', f"'ensemble.strategy': 'x' is none of {STRATEGIES}."),
        (
            ', "ensemble": {"order": "x"}}',
            "'ensemble.order': 'x' is none of 'explanation_first', 'value_first'.",
        ),
        (', "tool_choice": "x"}', "'tool_choice': 'x' is none of 'auto', 'none', 'required'."),
        (
            ', "response_format": {"type": "x"}}',
            "'response_format.type': 'x' is none of 'json_object', 'json_schema', 'text'.",
        ),
    ],
)
def test_a_request_is_told_what_there_is(body: str, expected: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode((ASKED + body).encode(), ChatRequest)
    assert caught.value.message == f"Invalid value for {expected}"


def test_what_is_no_json_behind_it_makes_no_other_error() -> None:
    with pytest.raises(BadRequest, match="'x' is none of 'first_non_blank'"):
        decode(b'{"strategy": "x", [', EnsembleOverride)


def test_a_long_value_is_not_repeated_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        decode(b'{"strategy": "' + b"x" * 10_000 + b'"}', EnsembleOverride)
    assert len(caught.value.message) < 300


def test_a_file_and_a_variable_are_told_what_there_is(tmp_path: Path) -> None:
    for folder in ("models", "ensembles"):
        (tmp_path / folder).mkdir()
    gateway = tmp_path / "gateway.toml"
    gateway.write_text("")
    with pytest.raises(ConfigError, match="'loud' is none of 'debug', 'error', 'info', 'warning'"):
        load_configuration(gateway, environment={"JURAT_SERVER_LOG_LEVEL": "loud"})
    (tmp_path / "models" / "m.toml").write_text('id = "m"\nkind = "chats"\n')
    with pytest.raises(ConfigError, match=r"m\.toml: kind: 'chats' is none of 'chat', 'embedding'"):
        load_configuration(gateway, environment={})
    (tmp_path / "models" / "m.toml").write_text('id = "m"\nkind = "fake"\n')
    (tmp_path / "ensembles" / "e.toml").write_text(
        'id = "e"\nstrategy = "mayority"\n[[members]]\nmodel = "m"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_configuration(gateway, environment={})
    expected = f"e.toml: strategy: 'mayority' is none of {STRATEGIES}."
    assert str(caught.value) == str(tmp_path / "ensembles" / expected)
