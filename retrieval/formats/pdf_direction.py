"""Words that are written from right to left, in the order in which they are read.

PDFium takes such letters for stored from left to right, as they are seen, and turns them round.
Many writers store them as they are read: browsers, and whoever notes the text of a shape beside it
(ActualText, ligatures). Where the letters stand on the page tells which it was.
"""

import ctypes
import re
import unicodedata
from collections.abc import Iterable
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

import pypdfium2 as pdfium
from pypdfium2 import raw

__all__ = ["in_reading_order"]

# Without digits, which are read from left to right.
_LETTER = "\u0590-\u065f\u066a-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_RUN = re.compile(f"[{_LETTER}](?:[{_LETTER} ]*[{_LETTER}])?")
SAME_PLACE = 0.01  # points
# PDFium itself spells the letters that have a shape in common, from the first to the last.
_SPELLED = {
    letters
    for code in (*range(0xFB1D, 0xFE00), *range(0xFE70, 0xFEFD))
    if len(letters := unicodedata.normalize("NFKC", chr(code))) > 1
}


class Shape(NamedTuple):
    """Letters that are drawn as one. Places are in points, from left to right."""

    origin: float
    left: float
    right: float
    letters: str

    @property
    def is_mark(self) -> bool:
        """Whether it belongs to a letter: a vowel, a doubling."""
        return all(unicodedata.combining(letter) for letter in self.letters)

    def far(self, other: "Shape") -> tuple[bool, float]:
        """How little they belong together."""
        apart = abs(self.left + self.right - other.left - other.right)
        return abs(self.origin - other.origin) > SAME_PLACE, apart


def in_reading_order(text: str, page: pdfium.PdfTextPage) -> str:
    """The text that was read of a whole page, with those words turned round that need it."""
    if not _RUN.search(text):
        return text
    # PDFium counts UTF-16 units.
    places = list(accumulate((1 + (letter > "\uffff") for letter in text), initial=0))

    def turned(run: re.Match[str]) -> str:
        letters = _placed(page, run[0], places[run.start()])
        return run[0] if letters is None else _turned(letters)

    return _RUN.sub(turned, text)


def _turned(letters: Iterable[Shape]) -> str:
    shapes = [
        Shape(*place, _in_order("".join(letter for *_, letter in together)))
        for place, together in groupby(letters, key=lambda letter: letter[:3])
    ]
    words = groupby(shapes, key=lambda shape: shape.letters.isspace())
    return "".join(_word(list(word)) for _, word in words)


def _word(shapes: list[Shape]) -> str:
    """From right to left; marks after the letter that they belong to."""
    bases = [shape for shape in shapes if not shape.is_mark]
    if not bases:
        return "".join(shape.letters for shape in shapes)
    steps = [after.origin - before.origin for before, after in pairwise(bases)]
    turned = sum((step > 0) - (step < 0) for step in steps) > 0
    if turned:  # or the beginning of it alone
        bases.reverse()  # which is the order of what stands at one place
        bases.sort(key=lambda shape: -shape.origin)
    marked = {id(base): base.letters for base in bases}
    bearer = bases[0]
    for shape in shapes:
        if not shape.is_mark:
            bearer = shape
            continue
        nearest = min(bases, key=shape.far)
        at_home = turned or abs(nearest.origin - shape.origin) <= SAME_PLACE
        marked[id(nearest if at_home else bearer)] += shape.letters
    return "".join(marked.values())


def _in_order(letters: str) -> str:
    return letters if len(letters) == 1 or letters in _SPELLED else letters[::-1]


def _placed(page: pdfium.PdfTextPage, run: str, start: int) -> list[Shape] | None:
    """Where each character of the run stands; None if PDFium counts them otherwise."""
    found = [ctypes.c_double() for _ in range(6)]
    shapes: list[Shape] = []
    for place, letter in enumerate(run, start):
        index = raw.FPDFText_GetCharIndexFromTextIndex(page, place)
        if index < 0 or raw.FPDFText_GetUnicode(page, index) != ord(letter):
            return None
        raw.FPDFText_GetCharBox(page, index, *found[:4])
        raw.FPDFText_GetCharOrigin(page, index, *found[4:])
        shapes.append(Shape(found[4].value, found[0].value, found[1].value, letter))
    return shapes
