"""Right-to-left words of PDFs, in whatever order their writers store them."""

import pytest

from retrieval.formats.read import read_document
from tests.unit.retrieval import sample_files as sample

# One character of the font for each letter; `x` is lam and alef in one shape.
LETTERS = {
    "a": "ن",
    "b": "ص",
    "c": "ع",
    "d": "ر",
    "e": "ب",
    "f": "ي",
    "x": "لا",
    "y": "س",
    "z": "م",
}


def placed(text: str, right: int, leftward: bool = True) -> str:
    """Each character at a place of its own, from right to left or from left to right."""
    places = [right - 7 * number for number in range(len(text))]
    stored = list(zip(places, text, strict=True))
    return " ".join(
        f"1 0 0 1 {place} 700 Tm ({letter}) Tj"
        for place, letter in (stored if leftward else reversed(stored))
    )


@pytest.mark.parametrize("leftward", [True, False])
def test_letters_in_the_order_they_are_read_or_seen(leftward: bool) -> None:
    content = placed("ab", 300, leftward), placed("cdef", 270, leftward)
    words = content if leftward else reversed(content)
    text = read_document(sample.lettered_pdf(" ".join(words), LETTERS), "a.pdf").text
    assert text == "نص عربي"


def test_a_shape_of_two_letters() -> None:
    text = read_document(sample.lettered_pdf(placed("yxz", 300), LETTERS), "a.pdf").text
    assert text == "سلام"


def test_a_word_whose_end_is_stored_apart_and_its_vowels() -> None:
    # As browsers write: the first four letters and a mark in one piece, the last letter in another.
    letters = {**LETTERS, "n": "\u064b"}
    content = f"{placed('ced', 300)} 1 0 0 1 286 700 Tm (n) Tj {placed('b', 279)}"
    text = read_document(sample.lettered_pdf(content, letters), "a.pdf").text
    assert text.replace(" ", "") == "عبر\u064bص"


def test_digits_stay_as_they_are() -> None:
    letters = {**LETTERS, "1": "۱", "2": "۲"}
    content = f"{placed('cd', 300)} 1 0 0 1 270 700 Tm (12) Tj"
    assert read_document(sample.lettered_pdf(content, letters), "a.pdf").text == "عر ۱۲"
