"""Cuts a span of text at its lines, after its sentences, or evenly. Pure and linear in time.

Every function returns spans in order, without blank ends, that together hold all that is not
blank in text[start:end].
"""

import re
import unicodedata

__all__ = ["cut_evenly", "split_lines", "split_sentences", "split_words"]

Spans = list[tuple[int, int]]

# Ends of sentences: full-width marks end one wherever they stand, others before a blank.
_GAPS = re.compile(r"\s+|(?<=[。！？｡])")
_CLOSERS = "\"')]}»”’」』"
_ENDERS = ".!?…:;؟۔।。！？｡"


# Scripts without blanks have no words to count: what is longer than this counts as several.
_WORD = re.compile(r"\S{1,24}")


def split_words(text: str) -> Spans:
    """One span a word, of at most 24 characters."""
    return [match.span() for match in _WORD.finditer(text)]


def split_lines(text: str, start: int, end: int) -> Spans:
    """One span a line that is not blank."""
    cuts = [match.end() for match in re.compile("\n").finditer(text, start, end)]
    return _spans(text, start, end, cuts)


def split_sentences(text: str, start: int, end: int) -> Spans:
    """One span a sentence. Where a sentence ends is a guess: a mark, a blank, no small letter."""
    cuts: list[int] = []
    for gap in _GAPS.finditer(text, start, end):
        before, after = gap.start(), gap.end()
        if after >= end:
            break
        if before == after:
            cuts.append(after)
            continue
        left = text[max(start, before - 4) : before].rstrip(_CLOSERS)
        if left and left[-1] in _ENDERS and not text[after].islower():
            cuts.append(after)
    return _spans(text, start, end, cuts)


def cut_evenly(text: str, start: int, end: int, length: int) -> Spans:
    """Spans of at most `length` characters, cut at a blank where one is near."""
    cuts: list[int] = []
    place = start
    while end - place > length:
        place = _near_blank(text, place, place + length)
        cuts.append(place)
    return _spans(text, start, end, cuts)


def _near_blank(text: str, first: int, limit: int) -> int:
    """The best place to cut in the second half of text[first:limit], else `limit`."""
    half = (first + limit + 1) // 2
    for blank in ("\n", " "):
        found = text.rfind(blank, half, limit)
        if found > first:
            return found + 1
    place = limit
    while place > max(half, first + 1) and unicodedata.combining(text[place]):
        place -= 1  # an accent stays with its letter
    return place


def _spans(text: str, start: int, end: int, cuts: list[int]) -> Spans:
    spans: Spans = []
    for left, right in zip([start, *cuts], [*cuts, end], strict=True):
        piece = text[left:right]
        body = piece.strip()
        if body:
            left += len(piece) - len(piece.lstrip())
            spans.append((left, left + len(body)))
    return spans
