"""Thoughts, text and calls told apart, however the text is cut into pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.output_parser import OutputParser
from models.parts import Content, Part, Thought
from models.tool_format import GEMMA, GENERIC, Reasoning, ToolFormat
from models.types import CallDelta

HERMES = ToolFormat(
    opening='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    closing="}\n</tool_call>",
    between='}\n</tool_call>\n<tool_call>\n{"name": "',
    marker="<tool_call>",
)
LLAMA3 = ToolFormat(
    opening='{"name": "',
    middle='", "parameters": ',
    closing="}",
    between=None,
    fences=(("<|python_tag|>", ""),),
)
MISTRAL = ToolFormat(
    opening='[TOOL_CALLS][{"name": "',
    middle='", "arguments": ',
    closing="}]",
    between='}, {"name": "',
    marker="[TOOL_CALLS]",
)
MISTRAL_NEW = ToolFormat(
    opening="[TOOL_CALLS]",
    middle="[ARGS]",
    closing="",
    between="[TOOL_CALLS]",
    marker="[TOOL_CALLS]",
    id_mark="[CALL_ID]",
)
FORMATS = (HERMES, LLAMA3, MISTRAL, MISTRAL_NEW, GENERIC, GEMMA)
NAMES = ("get", "get_weather", "stop")
THINK = Reasoning("<think>", "</think>")


def read(pieces: list[str], **options: Any) -> tuple[str, str, list[tuple[str, str]]]:
    """Content, thoughts and (name, arguments) of each call."""
    parser = OutputParser(**options)
    parts: list[Part] = []
    for piece in pieces:
        parts += parser.push(piece)
    parts += parser.finish()
    calls: dict[int, list[str]] = {}
    for part in parts:
        if isinstance(part, CallDelta):
            assert bool(part.name) == bool(part.id) == (part.index not in calls)
            calls.setdefault(part.index, [part.name, ""])[1] += part.arguments
    assert sorted(calls) == list(range(parser.calls))
    written = "".join(pieces)
    for part in parts:
        if isinstance(part, Content):
            assert written[part.at : part.at + len(part.text)] == part.text
    return (
        "".join(part.text for part in parts if isinstance(part, Content)),
        "".join(part.text for part in parts if isinstance(part, Thought)),
        [(name, arguments) for name, arguments in calls.values()],
    )


def written(form: ToolFormat, calls: list[tuple[str, str]]) -> str:
    """The calls as a model of this format writes them."""
    number = f"{form.id_mark}abc123def" if form.id_mark else ""
    middle = number + form.middle
    between = form.between or ""
    return form.opening + between.join(n + middle + a for n, a in calls) + form.closing


def cut(text: str, at: list[int]) -> list[str]:
    places = sorted({place % (len(text) + 1) for place in at})
    return [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]


arguments = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.integers() | st.text(max_size=12) | st.lists(st.booleans(), max_size=3),
    max_size=3,
).map(json.dumps)
plain = st.text(alphabet="ab <[{\n", max_size=20).map(lambda text: f"x{text}y")


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.sampled_from(NAMES), arguments), min_size=1, max_size=3),
    st.none() | plain,
    st.none() | plain,
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_calls_are_found_however_the_text_is_cut(
    form: ToolFormat,
    calls: list[tuple[str, str]],
    said: str | None,
    thought: str | None,
    at: list[int],
) -> None:
    if form.between is None:
        calls = calls[:1]
    if not form.marker:
        said = None
    text = written(form, calls)
    if said is not None:
        text = f"{said}\n{text}"
    if thought is not None:
        text = f"<think>\n{thought}\n</think>\n\n{text}"
    pieces = cut(text, at)
    found = read(pieces, form=form, names=NAMES, reasoning=THINK)
    assert found == (said or "", thought or "", calls)


@given(st.text(alphabet='ab<tool_c>{"name:}[]\n ', max_size=60), st.lists(st.integers(0, 99)))
def test_text_that_is_no_call_is_content(text: str, at: list[int]) -> None:
    for form in FORMATS:
        assert read(cut(text, at), form=form, names=NAMES) == (text, "", [])


@given(st.text(alphabet="ab<think>/ \n", max_size=60), st.lists(st.integers(0, 99)))
def test_cutting_changes_nothing(text: str, at: list[int]) -> None:
    assert read(cut(text, at), reasoning=THINK) == read([text], reasoning=THINK)


def test_the_prompt_may_have_begun_the_thoughts() -> None:
    options: dict[str, Any] = {"reasoning": THINK, "thinking": "open"}
    assert read(["hm\n</think>\n\nyes"], **options) == ("yes", "hm", [])
    assert read(["hm, cut of"], **options) == ("", "hm, cut of", [])
    assert read(["</think>yes"], **options) == ("yes", "", [])


def test_thoughts_are_only_looked_for_at_the_beginning() -> None:
    assert read(["a <think>b</think>"], reasoning=THINK) == ("a <think>b</think>", "", [])
    assert read(["<think>b</think>"], reasoning=THINK, thinking="no")[0] == "<think>b</think>"


@pytest.mark.parametrize("form", [GENERIC, GEMMA])
def test_a_fenced_call_is_a_call(form: ToolFormat) -> None:
    text = "```json\n" + written(form, [("get", '{"a": 1}'), ("stop", "{}")]) + "\n```"
    assert read(list(text), form=form, names=NAMES) == (
        "",
        "",
        [("get", '{"a": 1}'), ("stop", "{}")],
    )


def test_whitespace_does_not_matter_outside_the_arguments() -> None:
    text = '{\n  "name":"get",\n  "arguments" : {"a":  "b c"}\n}'
    assert read([text], form=GENERIC, names=NAMES) == ("", "", [("get", '{"a":  "b c"}')])


def test_a_call_of_an_unknown_function_is_content() -> None:
    for form in FORMATS:
        text = written(form, [("other", "{}")])
        assert read([text], form=form, names=NAMES) == (text, "", [])


def test_a_call_that_is_cut_off_keeps_what_there_is() -> None:
    text = written(HERMES, [("get", '{"city": "Par')]).removesuffix(HERMES.closing)
    assert read([text], form=HERMES, names=NAMES) == ("", "", [("get", '{"city": "Par')])
    closing = written(HERMES, [("get", "{}")])[:-4]
    assert read([closing], form=HERMES, names=NAMES) == ("", "", [("get", "{}")])


def test_ids_are_the_models_own_or_new() -> None:
    def ids(form: ToolFormat) -> list[str]:
        parser = OutputParser(form=form, names=NAMES)
        parts = parser.push(written(form, [("get", "{}"), ("stop", "{}")]))
        return [part.id for part in parts if isinstance(part, CallDelta) and part.id]

    assert ids(MISTRAL_NEW) == ["abc123def", "abc123def"]
    assert all(len(each) == 9 and each.isalnum() for each in ids(MISTRAL))
    first, second = ids(HERMES)
    assert first != second
    assert first.startswith("call_")
