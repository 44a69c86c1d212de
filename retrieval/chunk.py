"""Cuts a document into passages of whole sentences, paragraphs, lists and tables.

Pure: `chunk_steps` is a generator that asks for token counts in batches and is told them, so that
the tokenizer may live in another process; `chunk_document` drives it from an event loop.

Sizes are in tokens of the embedder's tokenizer. A chunk is a span of the text, text[start:end];
spans of one section may overlap, never cross a heading, and together hold every character that
is not blank. A chunk may be longer than the embedder reads: it is embedded in parts. Time is linear
in the text.
"""

import asyncio
import math
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from retrieval.document import Document
from retrieval.leaves import CHARS_PER_TOKEN, Frame, Leaf, leaf_steps
from retrieval.outline import Section, outline
from retrieval.split import split_words

__all__ = ["Chunk", "ChunkLimits", "chunk_document", "chunk_steps"]

Count = Callable[[Sequence[str]], Awaitable[list[int]]]
Steps = Generator[list[str], list[int], list["Chunk"]]

_SEPARATOR = " > "
_COUNT_BATCH = 512  # texts a call: keeps one message to the tokenizer under a megabyte
# Counts of parts do not quite add up to the count of the whole in every tokenizer.
_MARGIN = 0.95
_LONGEST_HEAD_ROW = 200  # characters; it is repeated with every chunk of its table
_HEADING_SHARE = 4  # headings, and the head row of a table, may each take this part of what is read


class Chunk(Struct, frozen=True, kw_only=True):
    """A passage. `embed_texts` are what to embed: its headings, then its text or a part of it.

    To rows that go on with a table, the table's head row is the last heading.
    """

    start: int
    end: int
    page: int | None
    heading: str
    text: str
    embed_texts: tuple[str, ...]


class ChunkLimits(Struct, frozen=True, kw_only=True):
    """`size` and `overlap` of a chunk are in tokens, or in words of windows without structure.

    `max_tokens` is the embedder's longest input, special tokens included.
    """

    size: int
    overlap: int
    max_tokens: int
    unit: Literal["tokens", "words"] = "tokens"


class _Atom(NamedTuple):
    """Leaves first to last that one chunk holds: a block that fits it, or a leaf."""

    section: int
    first: int
    last: int
    start: int
    end: int
    tokens: int


async def chunk_document(document: Document, limits: ChunkLimits, count: Count) -> list[Chunk]:
    """The chunks of `document` in order. `count` gives the tokens of texts, special ones included.

    The cutting runs in a thread; `count` is awaited on the loop.
    """
    steps = chunk_steps(document, limits)
    counts: list[int] | None = None
    while True:
        asked = await asyncio.to_thread(_advance, steps, counts)
        if isinstance(asked, _Done):
            return asked.chunks
        counts = []
        for first in range(0, len(asked), _COUNT_BATCH):
            counts += await count(asked[first : first + _COUNT_BATCH])


def chunk_steps(document: Document, limits: ChunkLimits) -> Steps:
    """Yields lists of texts, is sent their token counts, and returns the chunks."""
    text = document.text
    sections = outline(text, document.markup)
    titles = list({title for section in sections for title in section.path})
    special, *title_counts = yield ["", *titles]
    lengths = {
        title: max(count - special, 0) for title, count in zip(titles, title_counts, strict=True)
    }
    by_words = limits.unit == "words"
    frames = [
        _frame(() if by_words else section.path, section.path, lengths, limits, special)
        for section in sections
    ]
    piece = max(1, limits.overlap, limits.size // 4)
    leaves = yield from leaf_steps(text, sections, frames, piece, special)
    cutter = _Cutter(document, sections, frames, leaves)
    return cutter.windows(limits) if by_words else cutter.chunks(limits)


class _Done(NamedTuple):
    chunks: list[Chunk]


def _advance(steps: Steps, counts: list[int] | None) -> list[str] | _Done:
    # StopIteration cannot pass through a future, so the end becomes a value.
    try:
        return next(steps) if counts is None else steps.send(counts)
    except StopIteration as stop:
        return _Done(stop.value)


def _frame(
    shown: tuple[str, ...],
    path: tuple[str, ...],
    lengths: dict[str, int],
    limits: ChunkLimits,
    special: int,
) -> Frame:
    """As many of the innermost headings as fit their share, and the tokens left for text."""
    room = limits.max_tokens // _HEADING_SHARE
    used = 0
    kept: list[str] = []
    for title in reversed(shown):
        if used + lengths[title] + 1 > room:
            break
        used += lengths[title] + 1
        kept.insert(0, title)
    reads = max(1, math.floor((limits.max_tokens - special - used) * _MARGIN))
    if limits.unit == "tokens":
        reads = min(reads, limits.size)
    return Frame(_SEPARATOR.join(kept), reads, len(kept) == len(path))


class _Cutter:
    """Joins leaves into chunks, and the leaves of a chunk into the parts that are embedded."""

    def __init__(
        self,
        document: Document,
        sections: list[Section],
        frames: list[Frame],
        leaves: list[Leaf],
    ) -> None:
        self._document = document
        self._sections = sections
        self._frames = frames
        self._leaves = leaves

    def chunks(self, limits: ChunkLimits) -> list[Chunk]:
        """Neighbouring atoms of a section, up to the size, cut into those that are not too long."""
        atoms = _atoms(self._leaves, limits.size)
        chunks: list[Chunk] = []
        first = 0
        fresh = True  # the next chunk is the first of its section
        while first < len(atoms):
            last = _last_that_fits(atoms, first, limits.size)
            chunks.append(self._chunk(atoms[first], atoms[last], fresh))
            fresh = last + 1 < len(atoms) and atoms[last + 1].section != atoms[first].section
            first = last + 1 if fresh else _step_back(atoms, first, last, limits)
        return chunks

    def windows(self, limits: ChunkLimits) -> list[Chunk]:
        """Windows of words, each beginning `overlap` before the end of the one before it."""
        text, leaves = self._document.text, self._leaves
        words = split_words(text)
        chunks: list[Chunk] = []
        for first in range(0, max(len(words) - limits.overlap, 1), limits.size - limits.overlap):
            inside = words[first : first + limits.size]
            if not inside:
                break
            start, end = inside[0][0], inside[-1][1]
            low = bisect_right(leaves, start, key=lambda leaf: leaf.end)
            high = bisect_right(leaves, end - 1, key=lambda leaf: leaf.start)
            parts = self._parts(low, high - 1, start, end)
            place = bisect_right(self._sections, start, key=lambda section: section.start) - 1
            heading = _SEPARATOR.join(self._sections[max(place, 0)].path)
            chunks.append(self._made(start, end, heading, parts))
        return chunks

    def _chunk(self, first: _Atom, last: _Atom, fresh: bool) -> Chunk:
        section, frame = self._sections[first.section], self._frames[first.section]
        start, end = first.start, last.end
        head = self._head_row(first.first)
        heading = _SEPARATOR.join((*section.path, *([head] if head else [])))
        if not section.blocks and frame.whole:
            parts = (frame.context,)  # which says it already
        else:
            parts = self._parts(first.first, last.last, start, end)
        if fresh and section.path and start >= section.body:
            start = section.start
        return self._made(start, end, heading, parts)

    def _made(self, start: int, end: int, heading: str, parts: tuple[str, ...]) -> Chunk:
        return Chunk(
            start=start,
            end=end,
            page=_page(self._document.page_starts, start, end),
            heading=heading,
            text=self._document.text[start:end],
            embed_texts=parts,
        )

    def _parts(self, first: int, last: int, start: int, end: int) -> tuple[str, ...]:
        """What is embedded of text[start:end], which leaves first to last hold.

        As few parts as fit, of about the same length; rows go under the head row of their table.
        """
        leaves = self._leaves
        reads = self._frames[leaves[first].section].reads
        tokens = sum(leaf.tokens for leaf in leaves[first : last + 1])
        wanted = math.ceil(tokens / max(1, math.ceil(tokens / reads)))
        parts: list[str] = []
        while first <= last:
            head = self._head_row(first)
            room = reads - (self._head_tokens(first) if head else 0)
            filled = leaves[first].tokens
            if filled > room:
                head, room = "", reads
            until = first
            while until < last and filled < wanted:
                filled += leaves[until + 1].tokens
                if filled > room:
                    break
                until += 1
            body = self._document.text[
                max(start, leaves[first].start) : min(end, leaves[until].end)
            ]
            context = self._frames[leaves[first].section].context
            parts.append("\n".join(part for part in (context, head, body) if part))
            first = until + 1
        return tuple(parts)

    def _table_start(self, place: int) -> int | None:
        """The first leaf of the Markdown table that goes on at the leaf `place`, or None."""
        leaf = self._leaves[place]
        block = self._sections[leaf.section].blocks[leaf.block] if leaf.block >= 0 else None
        text = self._document.text
        if block is None or leaf.start == block.start or text[leaf.start] != "|":
            return None
        first = bisect_right(self._leaves, block.start, key=lambda leaf: leaf.start) - 1
        row = self._leaves[first]
        ruled = text[row.end : row.end + 8].lstrip().startswith(("|-", "| -", "|:", "| :"))
        short = row.end - row.start <= _LONGEST_HEAD_ROW and "\n" not in text[row.start : row.end]
        return first if ruled and short else None

    def _head_row(self, place: int) -> str:
        """The cells of the head row of the table that goes on at a leaf, or nothing."""
        first = self._table_start(place)
        if first is None:
            return ""
        row = self._leaves[first]
        return self._document.text[row.start : row.end].strip("| ")

    def _head_tokens(self, place: int) -> int:
        first = self._table_start(place)
        return 0 if first is None else self._leaves[first].tokens


def _atoms(leaves: list[Leaf], size: int) -> list[_Atom]:
    """Blocks that fit a chunk, and the leaves of those that do not."""
    atoms: list[_Atom] = []
    first = 0
    while first < len(leaves):
        section, block, start, *_ = leaves[first]
        last, tokens = first, leaves[first].tokens
        while last + 1 < len(leaves) and leaves[last + 1][:2] == (section, block):
            last += 1
            tokens += leaves[last].tokens
        end = leaves[last].end
        if tokens <= size and end - start <= size * CHARS_PER_TOKEN:
            atoms.append(_Atom(section, first, last, start, end, tokens))
        else:
            atoms += [
                _Atom(section, place, place, leaf.start, leaf.end, leaf.tokens)
                for place, leaf in enumerate(leaves[first : last + 1], start=first)
            ]
        first = last + 1
    return atoms


def _last_that_fits(atoms: list[_Atom], first: int, size: int) -> int:
    tokens = atoms[first].tokens
    last = first
    for place in range(first + 1, len(atoms)):
        atom = atoms[place]
        tokens += atom.tokens
        if (
            atom.section != atoms[first].section
            or tokens > size
            or atom.end - atoms[first].start > size * CHARS_PER_TOKEN
        ):
            break
        last = place
    return last


def _step_back(atoms: list[_Atom], first: int, last: int, limits: ChunkLimits) -> int:
    """Where the next chunk begins: up to `overlap` tokens before the end of this one."""
    following = last + 1
    if following >= len(atoms):
        return following
    room = min(limits.overlap, limits.size - atoms[following].tokens)
    longest = limits.size * CHARS_PER_TOKEN
    # Tokenizers that count an endless word as one token would have most of it shared.
    earliest = atoms[following].start - limits.overlap * CHARS_PER_TOKEN
    begin = following
    # A chunk begins after the one before it, and reaches beyond its end.
    while begin - 1 > first:
        room -= atoms[begin - 1].tokens
        start = atoms[begin - 1].start
        if room < 0 or start < earliest or atoms[following].end - start > longest:
            break
        begin -= 1
    return begin


def _page(page_starts: tuple[int, ...], start: int, end: int) -> int | None:
    """The page, from 1, that holds most of the span; the first of equals."""
    if not page_starts:
        return None
    first = bisect_right(page_starts, start)
    last = bisect_right(page_starts, end - 1)

    def share(page: int) -> int:
        page_end = page_starts[page] if page < len(page_starts) else end
        return min(end, page_end) - max(start, page_starts[page - 1])

    return max(range(first, last + 1), key=share)
