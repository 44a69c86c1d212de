"""The parts of what a model wrote, and how they are taken from text that is still coming. Pure."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.tagged_arguments import JsonValue
from models.types import CallDelta

__all__ = ["ID_LENGTH", "Content", "Part", "PartParser", "Thought", "join_calls", "new_id"]

ID_LENGTH = 9  # of ids that a model writes itself
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Content:
    """Text of the answer; `at` is where it began in all that was written."""

    text: str
    at: int


@dataclass(frozen=True)
class Thought:
    """Text before the answer."""

    text: str


Part = Content | Thought | CallDelta
State = Callable[[bool], Iterator[Part]]


class Arguments(Protocol):
    """Arguments of one call, taken as they are written."""

    ended: bool

    def read(self, text: str) -> tuple[int, str]:
        """How much of `text` is done with, and the JSON that it makes."""
        ...


class PartParser:
    """Takes text as it is written and gives back parts, each as soon as it is certain.

    Each of `states` reads what it can of the held text and says which comes next; it is told
    whether nothing comes after. The state `arguments` is followed by `after`.
    """

    def __init__(self, states: Mapping[str, State], first: str) -> None:
        self._states = {**states, "arguments": self._arguments}
        self._state = first
        self._value: Arguments = JsonValue()
        self._held = ""
        self._at = 0  # of the held text's first character
        self.calls = 0

    @property
    def thinking(self) -> bool:
        """Whether what comes next belongs to the thoughts."""
        raise NotImplementedError

    def push(self, text: str) -> list[Part]:
        """Parts that are now certain."""
        self._held += text
        return list(self._parts(last=False))

    def finish(self) -> list[Part]:
        """The rest; nothing comes after."""
        return list(self._parts(last=True))

    def _parts(self, *, last: bool) -> Iterator[Part]:
        while True:
            before = self._place()
            yield from self._states[self._state](last)
            if self._place() == before:
                return

    def _place(self) -> tuple[object, ...]:
        """What changes with each step that does anything."""
        return self._state, self._at

    def _arguments(self, last: bool) -> Iterator[Part]:
        length, arguments = self._value.read(self._held)
        self._skip(length)
        if arguments:
            yield CallDelta(self.calls - 1, arguments=arguments)
        if self._value.ended:
            self._state = "after"

    def _skip(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        self._at += length
        return taken


def join_calls(deltas: Sequence[CallDelta]) -> tuple[CallDelta, ...]:
    """One delta a call."""
    found: dict[int, CallDelta] = {}
    for delta in deltas:
        begun = found.get(delta.index)
        found[delta.index] = (
            delta
            if begun is None
            else CallDelta(delta.index, begun.id, begun.name, begun.arguments + delta.arguments)
        )
    return tuple(found.values())


def new_id(*, short: bool) -> str:
    """Of a call; nine letters and digits where a template takes no other."""
    if short:
        return "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    return f"call_{secrets.token_hex(12)}"
