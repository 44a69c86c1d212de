"""The same talk for templates that take less: one call a turn, or no system messages. Pure."""

from collections.abc import Sequence
from typing import Any

__all__ = ["one_call_a_turn", "without_system"]

Message = dict[str, Any]


def one_call_a_turn(messages: Sequence[Message]) -> list[Message]:
    """Turns of several calls as several turns, each before its answer."""
    found: list[Message] = []
    answers = {
        message["tool_call_id"]: message for message in messages if message.get("tool_call_id")
    }
    moved: set[int] = set()
    for message in messages:
        if id(message) in moved:
            continue
        calls = message.get("tool_calls", [])
        if len(calls) < 2:
            found.append(message)
            continue
        turn = message
        for call in calls:
            found.append({**turn, "tool_calls": [call]})
            turn = {"role": turn["role"], "content": ""}
            answer = answers.get(call["id"])
            if answer is not None and id(answer) not in moved:
                moved.add(id(answer))
                found.append(answer)
    return found


def without_system(messages: Sequence[Message]) -> list[Message]:
    """What system messages say as the beginning of the user's next turn, or as one of their own."""
    found: list[Message] = []
    said: list[str] = []
    for message in messages:
        if message["role"] == "system":
            said.append(message["content"])
        elif message["role"] == "user" and said:
            found.append({**message, "content": "\n\n".join([*said, message["content"]])})
            said = []
        else:
            found.append(message)
    if said and found and found[-1]["role"] == "user":
        last = found.pop()
        found.append({**last, "content": "\n\n".join([last["content"], *said])})
    elif said:
        found.append({"role": "user", "content": "\n\n".join(said)})
    return found
