import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.words import document_words, query_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Größe der STRASSE", ["grosse", "der", "strasse"]),
        ("Café ﬁle Ｗｉｄｅ", ["cafe", "file", "wide"]),
        ("1,234.5 kg of R-77", ["1234.5", "kg", "of", "r", "77"]),
        ("الكِتَاب", ["الكتاب"]),
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
