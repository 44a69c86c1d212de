"""Talks for templates that take less than the API does: nothing that was said is lost."""

from typing import Any

import pytest

from models.turns import one_call_a_turn, without_system

USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Yes?"}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([USER, ASSISTANT], [USER, ASSISTANT]),
        ([system("Be brief."), USER], [user("Be brief.\n\nHello")]),
        ([system("a"), system("b"), USER], [user("a\n\nb\n\nHello")]),
        (
            [USER, ASSISTANT, system("Be brief."), USER],
            [USER, ASSISTANT, user("Be brief.\n\nHello")],
        ),
        ([USER, system("Be brief.")], [user("Hello\n\nBe brief.")]),
        ([USER, ASSISTANT, system("Be brief.")], [USER, ASSISTANT, user("Be brief.")]),
        ([system("Be brief.")], [user("Be brief.")]),
    ],
)
def test_the_user_says_what_the_system_would(given: Any, expected: Any) -> None:
    assert without_system(given) == expected


def test_turns_of_several_calls_become_several_turns() -> None:
    calls = [{"id": f"c{n}", "function": {"name": f"f{n}", "arguments": {}}} for n in range(2)]
    answers = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"r{n}"} for n in range(2)]
    turn = {"role": "assistant", "content": "I ask both.", "tool_calls": calls}
    assert one_call_a_turn([USER, turn, *answers, USER]) == [
        USER,
        {"role": "assistant", "content": "I ask both.", "tool_calls": calls[:1]},
        answers[0],
        {"role": "assistant", "content": "", "tool_calls": calls[1:]},
        answers[1],
        USER,
    ]
    assert one_call_a_turn([{**turn, "tool_calls": calls[:1]}]) == [
        {**turn, "tool_calls": calls[:1]}
    ]


def test_later_turns_may_use_the_same_ids() -> None:
    talk = [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}, {"id": "2"}]},
        {"role": "tool", "tool_call_id": "1", "content": "a"},
        {"role": "tool", "tool_call_id": "2", "content": "b"},
    ]
    other = [{**message, "content": message["content"] * 2} for message in talk]
    assert [m["content"] for m in one_call_a_turn([*talk, *other])] == [
        *("", "a", "", "b"),
        *("", "aa", "", "bb"),
    ]
