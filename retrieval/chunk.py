"""Cuts a document into passages of whole sentences, paragraphs, lists and tables.

Pure: `chunk_steps` is a generator that asks for token counts in batches and is told them, so that
the tokenizer may live in another process; `chunk_document` drives it from an event loop.

Sizes are in tokens of the embedder's tokenizer. A chunk is a span of the text, text[start:end];
spans of one section may overlap, never cross a heading, and together hold every character that
is not blank. Time is linear in the text.
"""

import asyncio
import math
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Generator, Sequence
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct

from retrieval.outline import Section, outline
from retrieval.parse import Document
from retrieval.split import cut_evenly, split_lines, split_sentences

__all__ = ["Chunk", "ChunkLimits", "chunk_document", "chunk_steps"]

Count = Callable[[Sequence[str]], Awaitable[list[int]]]
Steps = Generator[list[str], list[int], list["Chunk"]]

_SEPARATOR = " > "
_COUNT_BATCH = 512  # texts a call: keeps one message to the tokenizer under a megabyte
# Tokenizers may count a run without blanks as one unknown token, and longer text is slower to
# count: nothing longer than this many characters a token is counted or kept in one chunk.
_CHARS_PER_TOKEN = 8
_GAP = 2  # blank characters counted with the text before them: some tokenizers count newlines
# Counts of parts do not quite add up to the count of the whole in every tokenizer.
_MARGIN = 0.95
_LONGEST_HEAD_ROW = 200  # characters; it is repeated with every chunk of its table
_HEADING_SHARE = 4  # headings may take this part of what the embedder reads


class Chunk(Struct, frozen=True, kw_only=True):
    """A passage. `embed_text` is what to embed: its headings, then its text.

    To rows that go on with a table, the table's head row is the last heading.
    """

    start: int
    end: int
    page: int | None
    heading: str
    text: str
    embed_text: str


class ChunkLimits(Struct, frozen=True, kw_only=True):
    """In tokens. `max_tokens` is the embedder's longest input, special tokens included."""

    size: int
    overlap: int
    max_tokens: int


class _Cut(IntEnum):
    """How a span that is too long is cut next."""

    LINES = 0
    SENTENCES = 1
    ANYWHERE = 2


class _Atom(NamedTuple):
    """A span that is not cut further while it fits. `tokens` is -1 until counted."""

    section: int
    start: int
    end: int
    cut: _Cut
    tokens: int


class _Frame(NamedTuple):
    """What a section leaves for text: its context is put before each of its chunks."""

    context: str
    budget: int


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
    sections = outline(text, markdown=document.markup == "markdown")
    titles = list({title for section in sections for title in section.path})
    special, *title_counts = yield ["", *titles]
    lengths = {
        title: max(count - special, 0) for title, count in zip(titles, title_counts, strict=True)
    }
    frames = [_frame(section.path, lengths, limits, special) for section in sections]
    atoms = [
        atom
        for index, section in enumerate(sections)
        for atom in _first_atoms(text, index, section, frames[index])
    ]
    while True:
        atoms = [piece for atom in atoms for piece in _fit(text, atom, frames, limits)]
        asked = [place for place, atom in enumerate(atoms) if atom.tokens < 0]
        if not asked:
            break
        counts = yield [_counted_text(text, atoms[place]) for place in asked]
        for place, count in zip(asked, counts, strict=True):
            atoms[place] = atoms[place]._replace(tokens=max(count - special, 0))
    return _pack(document, sections, frames, atoms, limits.overlap)


class _Done(NamedTuple):
    chunks: list[Chunk]


def _advance(steps: Steps, counts: list[int] | None) -> list[str] | _Done:
    # StopIteration cannot pass through a future, so the end becomes a value.
    try:
        return next(steps) if counts is None else steps.send(counts)
    except StopIteration as stop:
        return _Done(stop.value)


def _frame(
    path: tuple[str, ...], lengths: dict[str, int], limits: ChunkLimits, special: int
) -> _Frame:
    """As many of the innermost headings as fit their share, and the tokens left for text."""
    room = limits.max_tokens // _HEADING_SHARE
    used = 0
    kept: list[str] = []
    for title in reversed(path):
        if used + lengths[title] + 1 > room:
            break
        used += lengths[title] + 1
        kept.insert(0, title)
    reads = limits.max_tokens - special - used
    budget = max(1, min(limits.size, math.floor(reads * _MARGIN)))
    return _Frame(_SEPARATOR.join(kept), budget)


def _first_atoms(text: str, index: int, section: Section, frame: _Frame) -> list[_Atom]:
    atoms = [
        _Atom(index, start, end, _Cut.SENTENCES if kind == "prose" else _Cut.LINES, -1)
        for start, end, kind in section.blocks
    ]
    said = frame.context == _SEPARATOR.join(section.path)
    longest = frame.budget * _CHARS_PER_TOKEN
    if not atoms or not said or atoms[0].start - section.start > longest:
        # Otherwise the heading lines are shown with the first chunk, and embedded as its context.
        atoms.insert(0, _Atom(index, section.start, section.body, _Cut.LINES, -1))
    return [atom for atom in atoms if atom.start < atom.end]


def _fit(text: str, atom: _Atom, frames: list[_Frame], limits: ChunkLimits) -> list[_Atom]:
    """The atom itself, or what it is cut into when it is too long."""
    budget = frames[atom.section].budget
    length = atom.end - atom.start
    longest = budget * _CHARS_PER_TOKEN
    if length <= 1 or (length <= longest and atom.tokens <= budget):
        return [atom if length > 1 else atom._replace(tokens=1)]
    spans: list[tuple[int, int]]
    if atom.cut is _Cut.LINES:
        spans = split_lines(text, atom.start, atom.end)
    elif atom.cut is _Cut.SENTENCES:
        spans = split_sentences(text, atom.start, atom.end)
    else:
        # Small pieces, so that chunks of them fill up and can overlap.
        tokens = atom.tokens if length <= longest else length // 4
        piece = max(1, min(max(limits.overlap, budget // 4), budget))
        parts = max(2, math.ceil(tokens / piece))
        spans = cut_evenly(text, atom.start, atom.end, max(1, math.ceil(length / parts)))
    cut = _Cut(min(atom.cut + 1, _Cut.ANYWHERE))
    if len(spans) == 1:
        return _fit(text, atom._replace(cut=cut), frames, limits)
    pieces = [_Atom(atom.section, start, end, cut, -1) for start, end in spans]
    return [part for piece in pieces for part in _fit(text, piece, frames, limits)]


def _counted_text(text: str, atom: _Atom) -> str:
    after = text[atom.end : atom.end + _GAP]
    return text[atom.start : atom.end] + after[: len(after) - len(after.lstrip())]


def _pack(
    document: Document,
    sections: list[Section],
    frames: list[_Frame],
    atoms: list[_Atom],
    overlap: int,
) -> list[Chunk]:
    """Joins neighbouring atoms of a section up to its budget."""
    chunks: list[Chunk] = []
    first = 0
    fresh = True  # the next chunk is the first of its section
    while first < len(atoms):
        index = atoms[first].section
        section, frame = sections[index], frames[index]
        last = _last_that_fits(atoms, first, frame.budget)
        start, end = atoms[first].start, atoms[last].end
        heading = _SEPARATOR.join(section.path)
        head = _head_row(document.text, section, start)
        body = document.text[start:end]
        if not section.blocks and frame.context == heading:
            body = ""  # the context says it already
        elif fresh and section.path and start >= section.body:
            start = section.start
        chunks.append(
            Chunk(
                start=start,
                end=end,
                page=_page(document.page_starts, start, end),
                heading=_SEPARATOR.join(part for part in (heading, head) if part),
                text=document.text[start:end],
                embed_text="\n".join(part for part in (frame.context, body) if part),
            )
        )
        fresh = last + 1 < len(atoms) and atoms[last + 1].section != index
        first = last + 1 if fresh else _step_back(atoms, first, last, frame.budget, overlap)
    return chunks


def _head_row(text: str, section: Section, start: int) -> str:
    """The cells of the head row of the Markdown table that goes on at `start`, or nothing."""
    place = bisect_right(section.blocks, start, key=lambda block: block.start) - 1
    if place < 0 or text[start] != "|":
        return ""
    block = section.blocks[place]
    first = text.find("\n", block.start, block.end)
    row = text[block.start : first].strip()
    ruled = text[first + 1 : first + 8].lstrip().startswith(("|-", "| -", "|:", "| :"))
    if first < 0 or not first < start < block.end or not ruled or len(row) > _LONGEST_HEAD_ROW:
        return ""
    return row.strip("|").strip()


def _last_that_fits(atoms: list[_Atom], first: int, budget: int) -> int:
    tokens = atoms[first].tokens
    last = first
    for place in range(first + 1, len(atoms)):
        atom = atoms[place]
        tokens += atom.tokens
        longest = budget * _CHARS_PER_TOKEN
        if (
            atom.section != atoms[first].section
            or tokens > budget
            or atom.end - atoms[first].start > longest
        ):
            break
        last = place
    return last


def _step_back(atoms: list[_Atom], first: int, last: int, budget: int, overlap: int) -> int:
    """Where the next chunk begins: up to `overlap` tokens before the end of this one."""
    following = last + 1
    if following >= len(atoms):
        return following
    room = min(overlap, budget - atoms[following].tokens)
    longest = budget * _CHARS_PER_TOKEN
    begin = following
    # A chunk begins after the one before it, and reaches beyond its end.
    while begin - 1 > first:
        room -= atoms[begin - 1].tokens
        if room < 0 or atoms[following].end - atoms[begin - 1].start > longest:
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
