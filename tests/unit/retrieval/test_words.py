import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.words import document_words, query_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Größe der STRASSE", ["grosse", "der", "strasse"]),
        ("Café ﬁle Ｗｉｄｅ", ["cafe", "file", "wide"]),
        ("1,234.5 kg of R-77", ["r77", "1234.5", "kg", "of", "r", "77"]),
        ("E-02 X_1 e\u201102", ["e02", "x1", "e02", "e", "02", "x", "1", "e", "02"]),
        ("2024-05-01 well-known", ["2024", "05", "01", "well", "known"]),
        ("الكِتَاب", ["الكتاب"]),
        ("أحمد إلى مدرسة", ["احمد", "الي", "مدرسه"]),
        ("IŞIK ışık İstanbul", ["isik", "isik", "istanbul"]),
        ("Łódź Ærøskøbing", ["lodz", "aeroskobing"]),
        ("١٬٢٣٤٫٥ और २०२४", ["1234.5", "और", "2024"]),
        ("Donau\u00addampf", ["donaudampf"]),
        ("किताब में", ["किताब", "में"]),
        ("snake_case", ["snake", "case"]),
        ("x" * 1000, ["x" * 64]),
        ("", []),
    ],
)
def test_words_are_folded_in_any_script(text: str, words: list[str]) -> None:
    assert list(document_words(text)) == words


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("東京都の人口は多い", "人口"),
        ("ประเทศไทยมีประชากร", "ประชากร"),
        ("水", "水"),
        ("東京", "京"),
        ("학교에서 공부한다", "학교"),
        ("책은", "책"),
        ("error E-02", "E02"),
        ("٢٠٢٤", "2024"),
    ],
)
def test_a_word_inside_a_run_without_spaces_is_found(document: str, query: str) -> None:
    asked = query_words(query)
    assert asked
    assert set(asked) <= set(document_words(document))


@given(st.text())
def test_a_text_is_found_by_its_own_words(text: str) -> None:
    assert set(query_words(text)) <= set(document_words(text))
    assert not any(word.isspace() or " " in word for word in document_words(text))


@pytest.mark.parametrize("letter", ["x", "字", "é"])
def test_an_endless_word_takes_no_longer_than_its_length(letter: str) -> None:
    # With time that grows by the square of it, this test would not end.
    assert set(document_words(letter * 1_000_000)) <= {letter, letter * 2, "x" * 64, "e" * 64}
