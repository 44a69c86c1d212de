"""The smallest pieces that chunks are made of: sentences, lines, small blocks, with their tokens.

Pure: `leaf_steps` asks for token counts and is told them. Nothing is counted twice unless it turns
out to be longer than the embedder reads and is cut again.
"""

import math
from collections.abc import Generator
from enum import Enum, auto
from typing import NamedTuple

from retrieval.outline import Section
from retrieval.split import cut_evenly, split_lines, split_sentences

__all__ = ["CHARS_PER_TOKEN", "Frame", "Leaf", "leaf_steps"]

# Tokenizers may count a run without blanks as one unknown token, and longer text is slower to
# count: nothing longer than this many characters a token is counted or kept in one piece.
CHARS_PER_TOKEN = 8
# A block with fewer characters a token most likely fits: it is counted whole, not by sentences.
_LIKELY_CHARS_PER_TOKEN = 3
_GAP = 2  # blank characters counted with the text before them: some tokenizers count newlines


class Frame(NamedTuple):
    """What a section leaves for text: its context is put before whatever is embedded of it."""

    context: str
    reads: int  # tokens
    whole: bool  # the context says all of the section's headings


class Leaf(NamedTuple):
    """A span that is not cut further. `block` counts the blocks of a section; -1 is its heading."""

    section: int
    block: int
    start: int
    end: int
    tokens: int


class _Is(Enum):
    """What a piece is, which says how it is cut next."""

    PROSE = auto()
    LINES = auto()
    LINE = auto()
    SENTENCE = auto()
    PART = auto()


class _Piece(NamedTuple):
    section: int
    block: int
    start: int
    end: int
    what: _Is
    tokens: int  # -1 until counted


def leaf_steps(
    text: str, sections: list[Section], frames: list[Frame], size: int, special: int
) -> Generator[list[str], list[int], list[Leaf]]:
    """Yields texts to count, is sent the counts, and returns the leaves in order.

    What has no sentences is cut into pieces of about `size` tokens. `special` of each count are
    the tokenizer's own.
    """
    pieces = [
        piece
        for index, section in enumerate(sections)
        for piece in _first_pieces(index, section, frames[index])
    ]
    while True:
        pieces = [part for one in pieces for part in _fit(text, one, frames, size)]
        asked = [place for place, one in enumerate(pieces) if one.tokens < 0]
        if not asked:
            break
        counts = yield [_counted_text(text, pieces[place]) for place in asked]
        for place, count in zip(asked, counts, strict=True):
            pieces[place] = pieces[place]._replace(tokens=max(count - special, 0))
    return [Leaf(one.section, one.block, one.start, one.end, one.tokens) for one in pieces]


def _first_pieces(index: int, section: Section, frame: Frame) -> list[_Piece]:
    pieces = [
        _Piece(index, block, start, end, _Is.PROSE if kind == "prose" else _Is.LINES, -1)
        for block, (start, end, kind) in enumerate(section.blocks)
    ]
    longest = frame.reads * CHARS_PER_TOKEN
    if not pieces or not frame.whole or pieces[0].start - section.start > longest:
        # Otherwise the heading lines are shown with the first chunk, and embedded as its context.
        pieces.insert(0, _Piece(index, -1, section.start, section.body, _Is.LINES, -1))
    return [piece for piece in pieces if piece.start < piece.end]


def _fit(text: str, one: _Piece, frames: list[Frame], size: int) -> list[_Piece]:
    """The piece itself where it fits, or is to be counted; else what it is cut into."""
    reads = frames[one.section].reads
    length = one.end - one.start
    if length <= 1:
        return [one._replace(tokens=1)]
    if one.tokens >= 0:
        fits = one.tokens <= reads
    else:
        is_block = one.what in (_Is.PROSE, _Is.LINES)
        fits = length <= reads * (_LIKELY_CHARS_PER_TOKEN if is_block else CHARS_PER_TOKEN)
    if fits:
        return [one]
    match one.what:
        case _Is.LINES:
            what, spans = _Is.LINE, split_lines(text, one.start, one.end)
        case _Is.PROSE | _Is.LINE:
            what, spans = _Is.SENTENCE, split_sentences(text, one.start, one.end)
        case _:
            tokens = one.tokens if one.tokens >= 0 else length // 4
            parts = max(2, math.ceil(tokens / max(1, min(size, reads))))
            what, spans = _Is.PART, cut_evenly(text, one.start, one.end, -(-length // parts))
    tokens = one.tokens if len(spans) == 1 else -1
    pieces = [_Piece(one.section, one.block, start, end, what, tokens) for start, end in spans]
    return [leaf for piece in pieces for leaf in _fit(text, piece, frames, size)]


def _counted_text(text: str, one: _Piece) -> str:
    after = text[one.end : one.end + _GAP]
    return text[one.start : one.end] + after[: len(after) - len(after.lstrip())]
