import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.answer import spans_of
from gateway.ensemble.evidence import Text
from gateway.ensemble.ground import find, ground, sentences
from gateway.ensemble.prompt import neutral
from gateway.ensemble.text import one_line
from tests.unit.ensemble.passages import ranked_texts

PASSAGE = """# Reset

Hold the reset button for
12 seconds. The R-23 code, e.g. 1,000 users or 80-90 W, is rare. It costs £7 a month.

- The first item is five metres long
- The second has 2 billion parts, see 192.168.40.1.

| Code | Meaning |
|---|---|
| P-150 | the **waste ink pad** is full |
"""
STANDS = [
    ("12 seconds", "12 seconds", "Hold the reset button for\n12 seconds."),
    ("12 s", "12 seconds", "Hold the reset button for\n12 seconds."),
    ("button for 12", "button for\n12", "Hold the reset button for\n12 seconds."),
    ("R-23", "R-23", "The R-23 code, e.g. 1,000 users or 80-90 W, is rare."),
    ("1000", "1,000", "The R-23 code, e.g. 1,000 users or 80-90 W, is rare."),
    ("80 to 90", "80-90", "The R-23 code, e.g. 1,000 users or 80-90 W, is rare."),
    ("7 pounds", "7", "It costs £7 a month."),
    ("5 m", "five metres", "- The first item is five metres long"),
    ("2B", "2 billion", "- The second has 2 billion parts, see 192.168.40.1."),
    ("192.168.40.1", "192.168.40.1", "- The second has 2 billion parts, see 192.168.40.1."),
    ("Waste Ink Pad is full", "waste ink pad** is full", None),
    ("about 12 seconds", "12 seconds", None),
]
ABSENT = [
    "23",
    "150",
    "12 hours",
    "5 feet",
    "3",
    "ink pads",
    "192.168",
    "168.40.1",
    "7 dollars",
    "",
]


@pytest.mark.parametrize(("value", "words", "sentence"), STANDS)
def test_a_value_that_stands_there(value: str, words: str, sentence: str | None) -> None:
    found = ground(value, PASSAGE)
    assert found is not None
    assert PASSAGE[found.start : found.end] == words
    if sentence is not None:
        assert PASSAGE[found.sentence_start : found.sentence_end] == sentence


@pytest.mark.parametrize("value", ABSENT)
def test_a_value_that_does_not(value: str) -> None:
    assert ground(value, PASSAGE) is None


def test_the_unit_beside_a_value_must_fit() -> None:
    assert ground("12", PASSAGE, "seconds") is not None
    assert ground("12", PASSAGE, "hours") is None


def test_every_place_is_found() -> None:
    text = "Port 80 is open. So is port 443. Port 80 is for HTTP."
    assert [text[e.start : e.end] for e in find("port 80", text)] == ["Port 80", "Port 80"]


def test_a_table_row_is_a_sentence() -> None:
    found = ground("P-150", PASSAGE)
    assert found is not None
    row = PASSAGE[found.sentence_start : found.sentence_end]
    assert row == "| P-150 | the **waste ink pad** is full |"


def test_sentences_know_abbreviations_and_decimals() -> None:
    text = "Dr. Lee waits, e.g. Tuesdays, for 2.5 hours. Then J. Moss comes! Is it 60 W. Yes."
    assert [text[start:end] for start, end in sentences(text)] == [
        "Dr. Lee waits, e.g. Tuesdays, for 2.5 hours.",
        "Then J. Moss comes!",
        "Is it 60 W.",
        "Yes.",
    ]


@given(st.text(max_size=200))
def test_sentences_cover_all_that_is_written(text: str) -> None:
    spans = sentences(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    inside = "".join(text[start:end] for start, end in spans)
    assert "".join(inside.split()) == "".join(text.split())


@given(st.text(max_size=120), st.text(max_size=30))
def test_evidence_lies_in_its_sentence(passage: str, value: str) -> None:
    for found in find(value, passage):
        assert 0 <= found.sentence_start <= found.start < found.end
        assert found.end <= found.sentence_end <= len(passage)


@given(
    st.lists(st.sampled_from(["alpha", "beta", "gamma", "12", "7.5", "x-9"]), min_size=1), st.data()
)
def test_any_row_of_words_is_found_in_its_text(words: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(words) - 1))
    count = data.draw(st.integers(1, len(words) - at))
    assert ground(" ".join(words[at : at + count]), " ".join(words)) is not None


@pytest.mark.parametrize("piece", [".", " ", "1,", "| ", "a-", "e.g. ", "A1", "for ", "\n", "*"])
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    began = time.process_time()
    ranked_texts(text, [Text(1, text)])
    find("12", text)
    find(text[:2000], "12")
    spans_of(text)
    neutral(text)
    one_line(f"x{text}x")
    assert time.process_time() - began < 2


def test_a_german_date_is_no_end_of_a_sentence() -> None:
    text = "Er wurde am 14. Mai 1987 eröffnet. Es waren 12. Der Mai kam."
    assert [text[low:high] for low, high in sentences(text)] == [
        "Er wurde am 14. Mai 1987 eröffnet.",
        "Es waren 12.",
        "Der Mai kam.",
    ]
