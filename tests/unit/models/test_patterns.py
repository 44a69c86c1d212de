"""Patterns that three kinds of regular expression read alike."""

import json
import re

import pytest

from models.errors import InvalidRequest
from models.types import Constraint
from models.worker.patterns import portable
from tests.unit.models.grammar_walk import vocabulary

# A letter, a digit, a mark and spaces that are such to one of them and not to another.
DISPUTED = ("é", "थ", "٣", "²", "\u0301", "\u00a0", "\u0085", "\u3000", "\ufeff", "\x1c", "&", "-")


def matches(pattern: str, text: str) -> bool:
    schema = json.dumps({"type": "string", "pattern": pattern})
    matcher = vocabulary().grammars.compile(Constraint("json_schema", schema)).result().copy()
    for byte in json.dumps(text, ensure_ascii=False).encode():
        if not matcher.allows(byte):
            return False
        matcher.consume(byte)
    return True


@pytest.mark.parametrize(
    "pattern",
    [
        *(rf"^{each}$" for each in (r"\w", r"\W", r"\d", r"\D", r"\s", r"\S")),
        *(rf"^[{each}x]$" for each in (r"\w", r"\W", r"\d", r"\D", r"\s", r"\S")),
        *(rf"^[^{each}x]$" for each in (r"\w", r"\d", r"\s", r"\w\s")),
        r"^\\W$",
    ],
)
def test_what_is_written_matches_in_python_too(pattern: str) -> None:
    for text in (*DISPUTED, "a", "7", "_", " ", "!", "\\W"):
        if matches(pattern, text):
            assert re.search(pattern, text), text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^[^\s@]+@[^\s@]+$", "é@ü"),
        (r"^\W+$", "-!"),
        (r"^[\s\S]$", "थ"),
        (r"^[\w-\.]+$", "a-b.c"),
        (r"^[.-\w]+$", "a-b.c"),
        (r"^[^[\]]+$", "abc"),
        (r"^[[\]]+$", "[]"),
        (r"^[!@#$%^&&*~~]+$", "!&~*"),
        (r"^[[:a]+$", "[a:"),
    ],
)
def test_brackets_hold_what_they_do_in_a_schema(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize("pattern", ["^[a-z]+$", r"^\d{3}$", r"^[^\n]$", r"\[a\]", "[a", "a\\", ""])
def test_what_is_read_alike_stays(pattern: str) -> None:
    assert portable(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "says"), [("^(?!x)", "look-around"), ("^(a", "unclosed"), (r"\bfoo\b", "'pattern'")]
)
def test_what_is_refused_says_which_and_why(pattern: str, says: str) -> None:
    schema = json.dumps({"properties": {"a": {"type": "string", "pattern": pattern}}})
    with pytest.raises(InvalidRequest, match=says) as caught:
        vocabulary().grammars.compile(Constraint("json_schema", schema)).result()
    assert "'pattern'" in str(caught.value)
    assert pattern in str(caught.value)
