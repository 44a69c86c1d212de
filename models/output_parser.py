"""What a model wrote, told apart while it comes: thoughts, text, and calls of tools. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from models.literal_arguments import LiteralArguments
from models.parts import ID_LENGTH, Content, Part, PartParser, Thought, new_id
from models.tagged_arguments import JsonValue, TaggedArguments, overlap
from models.tool_format import Reasoning, ToolFormat
from models.types import CallDelta

__all__ = ["OutputParser", "Thinking"]

# Whether the model may begin with thoughts, is amid them (the prompt began them), or must not.
Thinking = Literal["may", "open", "no"]
NAME = re.compile(r"[A-Za-z0-9_-]")  # of a function


_Found = tuple[int, str, str]  # length, name, id


class OutputParser(PartParser):
    """Thoughts, then an answer with calls, each in the model's own marks.

    What looks like a call and turns out to be none is content: nothing is lost. `names` are the
    functions that may be called; without a `form` nothing is taken for a call. `texts` says of each
    function's arguments, by name, which are plain texts: where a form has tags for each of them.
    """

    def __init__(
        self,
        *,
        reasoning: Reasoning | None = None,
        thinking: Thinking = "may",
        form: ToolFormat | None = None,
        names: Sequence[str] = (),
        texts: Mapping[str, Mapping[str, bool]] | None = None,
    ) -> None:
        self._reasoning = reasoning
        self._form = form
        self._names = names
        self._texts = texts or {}
        self._strip = False  # whitespace that comes next only separates
        self._fence = ""  # what closes the calls, beside the format's own closing
        states = {
            "begin": self._begin,
            "think": self._think,
            "answer": self._answer,
            "text": self._text,
            "plain": self._plain,
            "after": self._after,
        }
        first = "answer"
        if reasoning is not None and thinking != "no":
            first = "think" if thinking == "open" else "begin"
            self._strip = thinking == "open"
        super().__init__(states, first)

    @property
    def thinking(self) -> bool:
        return self._state == "think"

    def _place(self) -> tuple[object, ...]:
        return *super()._place(), self._strip

    def _begin(self, last: bool) -> Iterator[Part]:
        assert self._reasoning is not None
        text = self._held.lstrip()
        opening = self._reasoning.opening
        if text.startswith(opening):
            self._skip(len(self._held) - len(text) + len(opening))
            self._state, self._strip = "think", True
        elif last or not opening.startswith(text):
            self._state = "answer"
        yield from ()

    def _think(self, last: bool) -> Iterator[Part]:
        assert self._reasoning is not None
        closing = self._reasoning.closing
        self._separate()
        at = self._held.find(closing)
        certain = at if at >= 0 else len(self._held) - overlap(self._held, closing)
        thought = self._held[:certain]
        if not last or at >= 0:
            thought = thought.rstrip()
        if thought:
            self._skip(len(thought))
            yield Thought(thought)
        if at >= 0:
            self._skip(self._held.index(closing) + len(closing))
            self._state, self._strip = "answer", True
        elif last and self._held:
            yield Thought(self._skip(len(self._held)))

    def _answer(self, last: bool) -> Iterator[Part]:
        """The beginning of the answer: calls without a marker can only stand here."""
        self._separate()
        if self._form is None:
            self._state = "plain"
        elif self._form.marker:
            self._state = "text"
        else:
            text = self._held.lstrip()
            found: _Found | None = None
            partial = not text
            for before, after in (("", ""), *self._form.fences):
                length = self._call(before + self._form.opening, text)
                if isinstance(length, tuple):
                    found, self._fence = length, after
                partial = partial or length == "partial"
            if found is not None:
                self._skip(len(self._held) - len(text))
                yield from self._called(found)
            elif last or not partial:
                self._state = "plain"

    def _plain(self, last: bool) -> Iterator[Part]:
        self._separate()
        yield from self._say(len(self._held))

    def _text(self, last: bool) -> Iterator[Part]:
        """Text that a marked call may follow; whitespace before one only separates."""
        form = self._form
        assert form is not None
        self._separate()
        at = self._held.find(form.marker)
        found = None if at < 0 else self._call(form.opening, self._held[at:])
        if isinstance(found, tuple):
            yield from self._say(len(self._held[:at].rstrip()))
            self._skip(self._held.index(form.marker))
            yield from self._called(found)
        elif found == "partial" and not last:
            yield from self._say(len(self._held[:at].rstrip()))
        elif at >= 0:  # a marker that begins no call
            yield from self._say(at + len(form.marker))
        elif last:
            yield from self._say(len(self._held))
        else:
            certain = len(self._held) - overlap(self._held, form.marker)
            yield from self._say(len(self._held[:certain].rstrip()))

    def _after(self, last: bool) -> Iterator[Part]:
        """After a call: another one, or the end."""
        form = self._form
        assert form is not None
        another = None if form.between is None else self._call(form.between, self._held)
        closed = _match(form.closing + self._fence, self._held)
        if isinstance(another, tuple):
            yield from self._called(another)
        elif another == "partial" and not last:
            return
        elif isinstance(closed, int):
            self._skip(closed)
            self._state, self._strip = "plain", True
        elif closed is None:
            self._state, self._strip = "plain", True
        elif last:
            self._skip(len(self._held))  # the answer was cut off amid what closes it

    def _called(self, found: _Found) -> Iterator[Part]:
        length, name, number = found
        self._skip(length)
        assert self._form is not None
        tags, literals = self._form.tags, self._form.literals
        self._state = "arguments"
        if literals is not None:
            self._value = LiteralArguments(literals, self._form.closing[0])
        elif tags is not None:
            self._value = TaggedArguments(tags, self._texts.get(name, {}))
        else:
            self._value = JsonValue()
        self.calls += 1
        yield CallDelta(self.calls - 1, number or new_id(short=self._form.short_ids), name)

    def _call(self, opening: str, text: str) -> "_Found | Literal['partial'] | None":
        """Whether the text begins with a call of a known function, up to its arguments."""
        assert self._form is not None
        partial = False
        for name in self._names:
            found = self._named(opening + name, text)
            if isinstance(found, tuple):
                return found[0], name, found[1]
            partial = partial or found == "partial"
        return "partial" if partial else None

    def _named(self, opening: str, text: str) -> "tuple[int, str] | Literal['partial'] | None":
        assert self._form is not None
        mark, middle = self._form.id_mark, self._form.middle
        if not mark:
            length = _match(opening + middle, text)
            if isinstance(length, int) and not middle.strip():  # a longer name may begin alike
                following = text[length : length + 1]
                if not following or NAME.match(following):
                    return None if following else "partial"
            return (length, "") if isinstance(length, int) else length
        length = _match(opening + mark, text)
        if not isinstance(length, int):
            return length
        number = text[length : length + ID_LENGTH]
        if len(number) < ID_LENGTH:
            return "partial"
        rest = _match(middle, text[length + ID_LENGTH :])
        return (length + ID_LENGTH + rest, number) if isinstance(rest, int) else rest

    def _say(self, length: int) -> Iterator[Part]:
        if length:
            at = self._at
            yield Content(self._skip(length), at)

    def _separate(self) -> None:
        if self._strip:
            self._skip(len(self._held) - len(self._held.lstrip()))
            self._strip = not self._held


def _match(pattern: str, text: str) -> "int | Literal['partial'] | None":
    """How much of `text` the pattern takes; whitespace counts in neither."""
    at = 0
    for char in pattern:
        if char.isspace():
            continue
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return "partial"
        if text[at] != char:
            return None
        at += 1
    return at
