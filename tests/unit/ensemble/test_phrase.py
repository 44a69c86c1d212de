import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.phrase import whole_phrase


def completed(text: str, value: str, question: str = "") -> str:
    at = text.index(value)
    start, end = whole_phrase(text, at, at + len(value), question)
    return text[start:end]


@pytest.mark.parametrize(
    ("text", "value", "whole"),
    [
        ("It gets updates until March 2031.", "2031", "March 2031"),
        ("On May 3, 1901, the town burnt.", "1901", "May 3, 1901"),
        ("It opened on the 4th of July 1999.", "July", "4th of July 1999"),
        ("rebuilt 1775–1795 and later", "1775", "1775–1795"),
        ("In 1973, Nixon named William E. Simon as head.", "William E.", "William E. Simon"),
        ("the Fresno Traction Company right-of-way", "Traction", "Fresno Traction Company"),
        ("The Pope, John Paul II, came.", "John Paul", "John Paul II"),
        ("Warsaw was razed to the ground.", "razed to the", "razed"),
        ("Richard Harbison's analysis", "Richard Harbison's", "Richard Harbison"),
        ("It is open every day from 7:00 to 22:00.", "22:00", "7:00 to 22:00"),
        # Whole already.
        ("Hold it for 12 seconds.", "12 seconds", "12 seconds"),
        ("Switch it on.", "on", "on"),
        ("Leave it plugged in.", "plugged in", "plugged in"),
        ("In Bern Ann lived. Tom did not.", "lived. Tom", "lived. Tom"),
        ("The R450 has one. Press it.", "R450", "R450"),
        ("It is 192.168.40.1 there.", "192.168.40.1", "192.168.40.1"),
    ],
)
def test_a_phrase_is_whole(text: str, value: str, whole: str) -> None:
    assert completed(text, value) == whole


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("What is the oldest site in town?", "Zacheta Gallery"),
        ("Which gallery is old?", "Zacheta Gallery, the oldest site"),
    ],
)
def test_what_repeats_the_question_is_left_out(question: str, whole: str) -> None:
    text = "Zacheta Gallery, the oldest site in town."
    assert completed(text, "Zacheta Gallery, the oldest site in", question) == whole


@pytest.mark.parametrize(
    ("text", "value", "question", "whole"),
    [
        ("Code r means that all is down.", "Code", "Which code is it?", "Code"),
        (
            "Code R-23 means that the server is down.",
            "Code",
            "What does R-23 mean?",
            "the server is down",
        ),
        ("It has 2 terabytes and costs 7 pounds.", "2 terabytes", "What does it cost?", "7 pounds"),
        (
            "It costs 7 pounds a month.",
            "7 pounds a month",
            "What does it cost?",
            "7 pounds a month",
        ),
        ("It costs £7 or £9.", "or", "What does it cost?", "or"),
        (
            "It has 2 terabytes and costs 7 pounds.",
            "2 terabytes",
            "How large is it?",
            "2 terabytes",
        ),
    ],
)
def test_what_is_asked_for_is_said(text: str, value: str, question: str, whole: str) -> None:
    assert completed(text, value, question) == whole


@given(st.text("Ab 1,.–'s", min_size=1, max_size=30), st.data())
def test_a_phrase_is_within_its_text(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    low, high = whole_phrase(text, start, end, "b 1")
    assert 0 <= low < high <= len(text)
