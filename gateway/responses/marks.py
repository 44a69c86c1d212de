"""[n] in a streamed text: citations of passages that there are; others are taken out. Pure."""

import re
from collections.abc import Iterator, Sequence

from gateway.ensemble.prompt import Passage
from gateway.responses.pieces import Cited, Text
from gateway.schema.items import FileCitation
from models.types import TokenLogprob

__all__ = ["Marks"]

# [2], [1, 3] and the blanks before it.
MARK = re.compile(r"[ \t]*\[(\d{1,3}(?:[,;] ?\d{1,3})*)\]")
NUMBER = re.compile(r"\d+")
LONGEST = 40  # characters that a mark may have
# What could still become a mark.
BEGUN = re.compile(r"[ \t]*(?:\[[\d,; ]*)?$")


class Marks:
    """Reads text in pieces; in code, between backticks, [n] is left alone.

    A mark that names passages is kept, without those of its numbers that name none.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = {passage.n: passage.hit for passage in passages}
        self._held = ""
        self._length = 0  # of what was given out, in code points
        self._ticks = 0

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Iterator[Text | Cited]:
        """What is certain after one more piece."""
        whole = self._held + text
        begun = BEGUN.search(whole)
        at = begun.start() if begun and len(begun.group()) <= LONGEST else len(whole)
        self._held = whole[at:]
        yield from self._give(whole[:at], logprobs)

    def end(self) -> Iterator[Text | Cited]:
        """The rest: a mark that never ended is text."""
        held, self._held = self._held, ""
        yield from self._give(held)

    def _give(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Iterator[Text | Cited]:
        found: list[str] = []
        cited: list[Cited] = []
        at = 0
        for mark in MARK.finditer(text):
            before = text[at : mark.start()]
            self._count(before, found)
            at = mark.end()
            if self._ticks % 2:
                self._count(mark.group(), found)
                continue
            numbers = [int(one) for one in NUMBER.findall(mark[1])]
            known = [n for n in dict.fromkeys(numbers) if n in self._passages]
            if not known:
                continue
            blank = mark.group()[: mark.start(1) - 1 - mark.start()]
            self._count(blank, found)
            cited += [Cited(self._citation(n)) for n in known]
            self._count(f"[{', '.join(map(str, known))}]", found)
        self._count(text[at:], found)
        if found or logprobs:
            yield Text("".join(found), logprobs)
        yield from cited

    def _count(self, text: str, found: list[str]) -> None:
        if text:
            found.append(text)
            self._length += len(text)
            self._ticks += text.count("`")

    def _citation(self, n: int) -> FileCitation:
        hit = self._passages[n]
        return FileCitation(file_id=hit.file_id, filename=hit.filename, index=self._length)
