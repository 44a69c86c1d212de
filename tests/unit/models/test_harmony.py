"""OpenAI's harmony format: messages told apart, their grammar, talks as its template has them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.harmony import HARMONY, THOUGHTS, HarmonyParser, is_harmony, turns_with_one_call
from models.types import Constraint, ToolUse
from models.worker.answer_grammar import Shape
from tests.unit.models.test_answer_grammar import NAMES, TOOLS, check, compiled, read, write
from tests.unit.models.test_output_parser import cut

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"
IN_CHANNEL = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
IN_ROLE = " to=functions.get_weather<|channel|>commentary json<|message|>"


def shape(*, required: bool = False) -> Shape:
    return Shape(HARMONY, TOOLS, ToolUse(NAMES, required=required), THOUGHTS, "may")


def parts(text: str, at: list[int]) -> tuple[str, str, list[tuple[str, str]]]:
    parser = HarmonyParser(NAMES)
    found: list[Any] = [part for piece in cut(text, at) for part in parser.push(piece)]
    found += parser.finish()
    calls: dict[int, list[str]] = {}
    said = thought = ""
    for part in found:
        match type(part).__name__:
            case "Content":
                assert text[part.at : part.at + len(part.text)] == part.text
                said += part.text
            case "Thought":
                thought += part.text
            case _:
                calls.setdefault(part.index, [part.name, ""])[1] += part.arguments
    return said, thought, [(name, arguments) for name, arguments in calls.values()]


plain = st.text(alphabet="ab<|{\n ", max_size=20).map(lambda text: f"x{text}y")


@given(
    st.lists(plain, max_size=2),
    st.none() | plain,
    st.sampled_from([FINAL, IN_CHANNEL, IN_ROLE]),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_messages_are_told_apart_however_the_text_is_cut(
    thoughts: list[str], said: str | None, last: str, at: list[int]
) -> None:
    before = "".join(ANALYSIS + thought + NEXT for thought in thoughts)
    if said is not None:
        before += f"<|channel|>commentary<|message|>{said}{NEXT}"
    found = parts(before + last + '{"city": "<|x"}', at)
    answer = '{"city": "<|x"}'
    calls = [] if last == FINAL else [("get_weather", answer)]
    assert found == ((said or "") + ("" if calls else answer), "\n\n".join(thoughts), calls)


def test_nothing_is_lost_but_headers() -> None:
    assert parts("no header at all", [3, 5])[0] == "no header at all"
    assert parts("<|channel|>commentary to=functions.other json<|message|>{}", [7])[0] == "{}"
    assert parts("<|channel|>analysis to=python code<|message|>1 + 1<|end|>", [7])[1] == "1 + 1"
    assert parts(f"<|channel|>commentary{ANALYSIS}hm<|end|>", [7])[1] == "hm"
    assert parts(ANALYSIS + "cut o", [9]) == ("", "cut o", [])
    assert parts("<|channel|>fin", [3]) == ("", "", [])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    "begin",
    [
        f"{ANALYSIS}hm {{<b>?{NEXT}{IN_CHANNEL}",
        f"<|channel|>commentary<|message|>hm {{<b>?{NEXT}{IN_ROLE}",
        "<|channel|>analysis to=functions.get_weather<|message|>",
    ],
)
def test_a_call_follows_its_schema(begin: str, required: bool, seed: int) -> None:
    wanted = shape(required=required)
    said, thought, calls = read(wanted, write(compiled(wanted), begin, seed))
    assert said + thought in ("hm {<b>?", "")
    assert [name for name, _ in calls] == ["get_weather"]
    check(calls)


def test_no_answer_stands_in_the_place_of_a_call_that_must_be_made() -> None:
    for required, letters in ((True, b"ac"), (False, b"acf")):
        matcher = compiled(shape(required=required))
        for byte in b"<|channel|>":
            matcher.consume(byte)
        assert sorted(bytes(matcher.allowed().nonzero()[0].tolist())) == sorted(letters)


def test_a_format_is_the_final_messages() -> None:
    body = Constraint("json_schema", json.dumps({"enum": [1, 2]}))
    for wanted in (Shape(HARMONY, (), None, THOUGHTS, "may"), shape()):
        begin = f"{ANALYSIS}3?{NEXT}{FINAL}"
        said, thought, calls = read(wanted, write(compiled(wanted, body), begin, 0))
        assert (said in "12", thought, calls) == (True, "3?", [])


def test_each_call_has_a_turn_of_its_own_before_its_answer() -> None:
    calls = [{"id": n, "type": "function", "function": {"name": n, "arguments": {}}} for n in "ab"]
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": calls},
        {"role": "tool", "content": "A", "tool_call_id": "a"},
        {"role": "tool", "content": "B", "tool_call_id": "b"},
        {"role": "assistant", "content": "done", "reasoning_content": "so"},
    ]
    assert turns_with_one_call(talk) == [
        talk[0],
        {"role": "assistant", "thinking": "hm", "tool_calls": calls[:1]},
        talk[2],
        {"role": "assistant", "content": "", "tool_calls": calls[1:]},
        talk[3],
        {"role": "assistant", "content": "done", "thinking": "so"},
    ]


def test_a_template_is_known_by_its_marks() -> None:
    assert is_harmony("'<|start|>' … '<|channel|>' … 'functions.' … '<|message|>'")
    assert not is_harmony("<|start|>user<|message|>")
