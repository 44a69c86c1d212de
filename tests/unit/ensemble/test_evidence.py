import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.candidates import candidates
from gateway.ensemble.evidence import (
    Text,
    asked_about,
    echoes,
    expects_number,
    names_held,
    names_missing,
    rank,
    says_nothing_new,
    stem,
)
from tests.unit.ensemble.passages import ranked_texts

ROUTER = Text(1, "The R200 has a lamp. Hold its reset button for 12 seconds.", "Resetting", 0.6)
OTHER = Text(2, "The printer has a button. It is grey.", "Printers", 0.4)


def test_the_sentence_about_the_question_comes_first() -> None:
    first = ranked_texts("How long do I hold the reset button?", [OTHER, ROUTER])[0]
    assert (first.n, first.text) == (1, "Hold its reset button for 12 seconds.")
    assert ROUTER.text[first.start : first.end] == first.text


def test_likeness_words_and_passage_make_the_score() -> None:
    text = Text(1, "The lamp is red.", score=0.5)
    (found,) = candidates("Which lamp?", [text])
    (sentence,) = rank("Which lamp?", [text], [found], [0.8])
    assert sentence.score == pytest.approx((0.8 + 0.3 * 1 + 0.3 * 0.5) / 1.6)


def test_words_of_the_heading_count_less_than_the_sentence_s_own() -> None:
    found = candidates("printer", [OTHER])
    own, in_heading = rank("printer", [OTHER], found, [0.0, 0.0])
    assert (own.text, in_heading.text) == ("The printer has a button.", "It is grey.")
    assert own.score - in_heading.score == pytest.approx(0.3 * 0.5 / 1.6)


def test_likeness_can_outweigh_words() -> None:
    text = Text(1, "My screen is a screen. The display broke.")
    found = candidates("Why is the screen dead?", [text])
    assert rank("Why is the screen dead?", [text], found, [0.1, 0.9])[0].start == found[1].start


def test_headings_are_no_evidence_but_sentences_are_read_under_them() -> None:
    text = Text(1, "# Lamps\n\nThe lamp is red.\n\nTHE BOX\n\nIt is blue.", "Devices")
    found = candidates("Which colour?", [text])
    assert [c.text for c in found] == ["The lamp is red.", "It is blue."]
    assert [c.embed_text for c in found] == ["Lamps\nThe lamp is red.", "THE BOX\nIt is blue."]


def test_a_row_is_read_with_the_names_of_its_columns() -> None:
    table = "| Lamp | Colour | |\n|---|---|---|\n| S4 | **blue** | dim |\n\nElse:\n\n| alone |"
    found = candidates("Which colour?", [Text(1, f"A table:\n\n{table}")])
    assert [c.text for c in found] == ["A table:", "Lamp: S4; Colour: blue; dim", "Else:", "alone"]
    assert table[found[1].start - 10 : found[1].end - 10].startswith("| S4 | **blue**")


def test_rows_that_go_on_with_a_table_have_its_head_as_their_last_heading() -> None:
    rest = Text(1, "| S5 | red |\n| S6 | |\n", "Lamps > Lamp | Colour")
    found = candidates("Which colour?", [rest])
    assert [c.embed_text for c in found] == ["Lamps\nLamp: S5; Colour: red", "Lamps\nLamp: S6"]


def test_a_passage_about_another_device_says_nothing() -> None:
    assert candidates("How long do I hold the R450's button?", [ROUTER]) == []
    manual = Text(1, "Hold it.", document="R450_manual")
    assert len(candidates("How long do I hold the R450's button?", [manual])) == 1


def test_no_passages_no_sentences() -> None:
    assert candidates("What?", []) == []
    assert rank("What?", [], [], []) == []


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
def test_any_text_can_be_ranked(question: str, texts: list[str]) -> None:
    passages = [Text(n, text) for n, text in enumerate(texts)]
    for sentence in ranked_texts(question, passages):
        assert 0 <= sentence.score <= 1 + 1e-9
        assert 0 <= sentence.start < sentence.end <= len(texts[sentence.n])


@pytest.mark.parametrize(
    ("question", "text", "share"),
    [
        ("When did Nixon visit China in 1972?", "Nixon went to China.", 2 / 3),
        ("When did Nixon visit China?", "It was in spring.", 0.0),
        ("My Fell 16 is wet. What now?", "The Fell 16 dries.", 1.0),
        ("What is wet? Why?", "Nothing.", 1.0),
        ("How many R200s are there?", "The r200's are two.", 0.0),
        ("Is the R200’s lamp red?", "The r200's lamp is red.", 1.0),
    ],
)
def test_names_of_the_question_in_a_text(question: str, text: str, share: float) -> None:
    assert names_held(question, text) == pytest.approx(share)
