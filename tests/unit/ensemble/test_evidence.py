import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.evidence import (
    Text,
    asked_about,
    echoes,
    expects_number,
    names_missing,
    rank,
    says_nothing_new,
    stem,
)

ROUTER = Text(1, "The R200 has a lamp. Hold its reset button for 12 seconds.", "Resetting", 0.6)
OTHER = Text(2, "The printer has a button. It is grey.", "Printers", 0.4)


def test_the_sentence_about_the_question_comes_first() -> None:
    first = rank("How long do I hold the reset button?", [OTHER, ROUTER])[0]
    assert first.n == 1
    assert ROUTER.text[first.start : first.end] == "Hold its reset button for 12 seconds."
    assert 0.9 < first.coverage <= 1


def test_words_of_the_heading_count_less_than_the_sentence_s_own() -> None:
    in_heading = rank("printers", [OTHER])[1]  # "It is grey."
    assert in_heading.coverage == pytest.approx(0.5)


def test_a_question_about_something_else_is_not_covered() -> None:
    found = rank("Which colour has the keyboard?", [ROUTER, OTHER])
    assert max(sentence.coverage for sentence in found) < 0.3


def test_headings_and_head_rows_are_no_evidence() -> None:
    table = "| Lamp | Colour |\n|---|---|\n| S4 | blue |"
    text = f"# Lamps\n\nThe lamp is red.\n\nTHE LAMP BOX\n\n{table}"
    found = rank("Which colour is the lamp?", [Text(1, text)])
    assert {text[s.start : s.end] for s in found} == {"The lamp is red.", "| S4 | blue |"}


def test_where_a_number_is_asked_for_a_sentence_with_one_comes_first() -> None:
    text = "The warranty of a monitor is free. It lasts 48 months, the monitor's warranty."
    (first, _) = rank("How many months is the monitor's warranty?", [Text(1, text)])
    assert text[first.start :].startswith("It lasts")


def test_no_passages_no_sentences() -> None:
    assert rank("What?", []) == []


@pytest.mark.parametrize(
    ("a", "b"),
    [("stopping", "stops"), ("batteries", "battery"), ("configure", "configuration")],
)
def test_forms_of_a_word_share_a_stem(a: str, b: str) -> None:
    assert stem(a) == stem(b)


def test_codes_of_the_question_must_stand_in_the_text() -> None:
    assert names_missing("What does error code R-77 mean?", "R-23: name server silent.") == {"r-77"}
    assert names_missing("What does R-23 mean?", "Code **R-23:** name server silent.") == set()
    assert names_missing("Is 24h or 3rd a name?", "") == set()
    assert names_missing("Which NW-T9 and R200?", "") == {"nw-t9", "r200"}


def test_a_value_of_the_question_s_own_words_is_an_echo() -> None:
    assert echoes("the laptop", "Why does my laptop stop?")
    assert echoes("16", "How much RAM has a Fell 16?")
    assert not echoes("64 gigabytes", "How much RAM has a Fell 16?")


def test_words_that_the_question_asks_about() -> None:
    question = "How much RAM has a Fell 16's board?"
    words = ("RAM", "16", "boards", "the", "64")
    assert list(filter(says_nothing_new(question), words)) == ["RAM", "16", "boards", "the"]
    assert list(filter(asked_about(question), words)) == ["16"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How long must it dry?", True),
        ("What is the deposit?", True),
        ("What deposit do you take?", True),
        ("Which key opens the menu?", False),
        ("How do I reset it?", False),
    ],
)
def test_questions_that_want_a_number(question: str, expected: bool) -> None:
    assert expects_number(question) is expected


@given(st.text(max_size=60), st.lists(st.text(max_size=80), max_size=3))
def test_coverage_is_a_share(question: str, texts: list[str]) -> None:
    for sentence in rank(question, [Text(n, text) for n, text in enumerate(texts)]):
        assert 0 <= sentence.coverage <= 1 + 1e-9
        assert sentence.score >= 0
