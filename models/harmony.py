"""OpenAI's harmony format, as gpt-oss writes it: an answer is messages on channels. Pure.

    <|channel|>analysis<|message|>thoughts<|end|><|start|>assistant
    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>

A message's header says whom it is for: the channel `analysis` holds thoughts, `commentary` calls
and what is said before them, `final` the answer. The recipient may stand in the role as well:
`<|start|>assistant to=functions.NAME<|channel|>commentary json<|message|>`. A call ends the turn.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from models.parts import Content, Part, PartParser, Thought, new_id
from models.tagged_arguments import JsonValue, overlap
from models.tool_format import Reasoning, ToolFormat
from models.turns import one_call_a_turn
from models.types import CallDelta

__all__ = [
    "CALL",
    "CHANNEL",
    "CONSTRAIN",
    "END",
    "HARMONY",
    "MESSAGE",
    "RECIPIENT",
    "START",
    "THOUGHTS",
    "HarmonyParser",
    "is_harmony",
    "turns_with_one_call",
]

START, CHANNEL, CONSTRAIN = "<|start|>", "<|channel|>", "<|constrain|>"
MESSAGE, END, CALL = "<|message|>", "<|end|>", "<|call|>"
RECIPIENT = " to=functions."
HARMONY = ToolFormat(
    opening=f"{CHANNEL}commentary{RECIPIENT}",
    middle=f" {CONSTRAIN}json{MESSAGE}",
    closing="",
    between=None,
)
THOUGHTS = Reasoning(f"{CHANNEL}analysis{MESSAGE}", f"{END}{START}")
TO = re.compile(r"(?:^|\s)to=functions\.([A-Za-z0-9_-]+)")
ON = re.compile(r"<\|channel\|>\s*([a-z]+)")
# What a header begins with; else there is none, and what comes is the answer.
BEGINNINGS = (START, CHANNEL, "to=")


def is_harmony(source: str) -> bool:
    """Whether a chat template writes its turns so."""
    return all(mark in source for mark in (START, CHANNEL, MESSAGE, "functions."))


def turns_with_one_call(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same talk with at most one call a turn, each before its answer, and thoughts by name.

    The template renders the first call of a turn only, and refuses text beside its thoughts.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        turn = dict(message)
        thoughts = turn.pop("reasoning_content", "")
        if thoughts:
            turn["thinking"] = thoughts
            if turn.get("tool_calls"):
                turn.pop("content", None)
        found.append(turn)
    return one_call_a_turn(found)


class HarmonyParser(PartParser):
    """Thoughts, calls and an answer, each a message on its channel.

    `names` are the functions that may be called. A call of any other is content, as is all that
    follows no header: nothing is lost but headers.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = names
        self._thoughts = 0  # messages of them
        states = {
            "header": self._header,
            "thought": self._body,
            "content": self._body,
            "after": self._after,
        }
        super().__init__(states, "header")

    @property
    def thinking(self) -> bool:
        return self._state == "thought"

    def _header(self, last: bool) -> Iterator[Part]:
        header, found, _ = self._held.partition(MESSAGE)
        if found and header.lstrip().startswith(BEGINNINGS):
            self._skip(len(header) + len(MESSAGE))
            yield from self._begun(header)
            return
        text = self._held.lstrip()
        begins = text.startswith(BEGINNINGS)
        partial = any(each.startswith(text) for each in BEGINNINGS)
        if not begins and (not partial or (last and text)):
            self._state = "content"
        yield from ()

    def _begun(self, header: str) -> Iterator[Part]:
        """What a message is, by its header."""
        to, on = TO.search(header), ON.findall(header)
        if to is not None and to.group(1) in self._names:
            self._state, self._value = "arguments", JsonValue()
            self.calls += 1
            yield CallDelta(self.calls - 1, new_id(short=False), to.group(1))
        elif on[-1:] == ["analysis"]:  # gpt-oss at times names another channel before it
            self._state = "thought"
            self._thoughts += 1
            if self._thoughts > 1:
                yield Thought("\n\n")
        else:
            self._state = "content"

    def _body(self, last: bool) -> Iterator[Part]:
        at = self._held.find(END)
        certain = at if at >= 0 else len(self._held)
        if at < 0 and not last:
            certain -= overlap(self._held, END)
        if certain:
            begun = self._at
            text = self._skip(certain)
            yield Thought(text) if self.thinking else Content(text, begun)
        if at >= 0:
            self._skip(len(END))
            self._state = "header"

    def _after(self, last: bool) -> Iterator[Part]:
        """After a call, whose message something closes."""
        closed = min((at for end in (END, CALL) if (at := self._held.find(end)) >= 0), default=-1)
        if closed >= 0:
            self._skip(self._held.index("|>", closed) + 2)
            self._state = "header"
        yield from ()
