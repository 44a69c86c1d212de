"""The same talk for templates that take less: one call a turn, or no system messages. Pure."""

from collections.abc import Sequence
from typing import Any

__all__ = ["one_call_a_turn", "without_system"]

Message = dict[str, Any]


def one_call_a_turn(messages: Sequence[Message]) -> list[Message]:
    """Turns of several calls as several turns, each before its answer."""
    found: list[Message] = []
    moved: set[int] = set()
    for at, message in enumerate(messages):
        if at in moved:
            continue
        calls = message.get("tool_calls", [])
        if len(calls) < 2:
            found.append(message)
            continue
        answers = _answers(messages, at)
        turn = message
        for call in calls:
            found.append({**turn, "tool_calls": [call]})
            turn = {"role": turn["role"], "content": ""}
            if (place := answers.pop(call["id"], None)) is not None:
                moved.add(place)
                found.append(messages[place])
    return found


def _answers(messages: Sequence[Message], at: int) -> dict[str, int]:
    """Where those to the calls of a turn stand, by their ids, which later turns may use again."""
    found: dict[str, int] = {}
    for place in range(at + 1, len(messages)):
        if messages[place]["role"] == "assistant":
            break
        if name := messages[place].get("tool_call_id"):
            found.setdefault(name, place)
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
