import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.evaluation.squad import exact_match, token_f1
from clients.evaluation.wattbot import is_blank, normalised, oddities, overlap, value_right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (" NA ", True),
        ("n/a", True),
        ("is_blank", True),
        ("Unable to answer with confidence based on the provided documents. Sorry", True),
        ("unable to answer", False),
        ("none", False),
        ("0", False),
    ],
)
def test_blanks(text: str, expected: bool) -> None:
    assert is_blank(text) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("True", "1"),
        ("yes", "1"),
        (" FALSE ", "0"),
        ("No", "0"),
        ("1,234.5", "1234.5"),
        ("Paris, France", "Paris, France"),
        ("more than 1,000", "1000"),
        ("Fewer than 3", "3"),
        ("up  to 3", "3"),
        ("~5", "5"),
        ("≈ 5", "5"),
        (">1,000", "1000"),
        ("about about 5", "about 5"),  # one hedge, not all
        ("aboutface", "aboutface"),
        ("2B", "2000000000"),
        ("1.5 k", "1500"),
        ("1.2345k", "1234.5"),
        ("2,000k", "2,000k"),  # commas fall only where a number is left
        ("about 2M", "2000000"),
        ("3 t", "3000000000000"),
        ("80-90", "[80,90]"),
        ("from 90 to 80", "[80,90]"),
        ("0.5–1.5", "[0.5,1.5]"),
        ("1—2", "[1,2]"),
        ("-5 - -3", "[-5,-3]"),
        ("1.2.3-4", "1.2.3-4"),
        ("True enough", "True enough"),
        (" is_blank ", "is_blank"),
    ],
)
def test_a_submitted_value_is_normalised(value: str, expected: str) -> None:
    assert normalised(value) == expected


@pytest.mark.parametrize(
    ("truth", "value", "right"),
    [
        ("is_blank", "anything", True),  # judged by NA recall
        ("5", "is_blank", False),
        ("1", "True", True),
        ("True", "True", False),  # the truth is not normalised, the run is: 1
        ("1,000", "1000", False),  # likewise
        ("1000", "1,000", True),
        ("1000", "1001", True),  # 1e-3 relative
        ("1000", "1001.1", False),
        ("0", "0.001", True),  # 1e-3 absolute
        ("0", "0.0011", False),
        ("2000000000", "2B", True),
        ("5", "5 kg", False),
        ("GPT-4", " gpt-4 ", True),
        ("GPT-4", "GPT 4", False),
        ("[1, 2]", "[2, 1]", True),
        ("[1, 2]", "[1, 2, 2]", False),
        ("[80, 90]", "80-90", True),
        ("[80, 90]", "85", True),  # a range that the number falls in
        ("[80, 90]", "90.0005", True),
        ("[80, 90]", "91", False),
        ("[1, 2, 3]", "2", False),
        ("['A', 'b']", '["B", "a"]', True),
        ("[a, b]", "[b, a]", True),
        ("[a, b]", "a", False),
        ("{Solar, wind}", "{WIND, solar}", True),
        ("{solar, wind}", "[wind, solar]", True),
        ("{solar, wind}", "solar", False),
        ("{1, 2}", "1.5", False),  # braces hold terms, not the ends of a range
        ("5", "[5]", False),
        ("nan", "1", False),
    ],
)
def test_values(truth: str, value: str, right: bool) -> None:
    assert value_right(truth, value) is right


@pytest.mark.parametrize(
    ("truth", "given", "expected"),
    [
        ("['a', 'b']", '["B", "A"]', 1.0),
        ("['a', 'b']", "['a']", 0.5),
        ("['a']", "a", 1.0),
        ("['a']", "[a]", 1.0),
        ("['a']", "", 0.0),
        ("", "", 1.0),
        ("[]", "", 1.0),
        ("is_blank", "is_blank", 1.0),  # an id like any other
        ("is_blank", "", 0.0),
        ("['a', 'b', 'c']", "['b', 'd']", 0.25),
        ("['a']", "['a', 'a']", 1.0),
    ],
)
def test_references(truth: str, given: str, expected: float) -> None:
    assert overlap(truth, given) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "what"),
    [("[1, 2", "begins"), (" {a", "begins"), ("NaN", "NaN"), ("[1, nan]", "NaN"),
     ("1e999", "too large"), ("3\x006", "NUL"), ("[1, 2]", ""), ("1]", ""), ("nancy", ""),
     ("inf", ""), ("1e100", ""), ("[]", ""), ("phase2023", "")],
)  # fmt: skip
def test_what_cannot_be_compared_is_seen(text: str, what: str) -> None:
    found = dict(oddities(["plain", text]))
    assert what in found.get(1, "")
    assert bool(what) is bool(found)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_has_a_score(truth: str, value: str) -> None:
    list(oddities([value]))
    assert value_right(truth, value) in (True, False)
    assert 0 <= overlap(truth, value) <= 1


@pytest.mark.parametrize("value", ["9" * 400 + "k", "1-" + "9" * 400, "[" * 5000, "[" + "9" * 5000])
def test_huge_numbers_and_deep_lists_have_a_score(value: str) -> None:
    assert not value_right("1", value)
    assert overlap("a", value) == 0


@pytest.mark.parametrize(
    ("answers", "value", "exact", "f1"),
    [
        (["The Eiffel Tower"], "eiffel tower!", 1, 1),
        (["Paris", "the city of Paris"], "city of Paris", 1, 1),
        (["a b c d"], "b c x", 0, 2 * 2 / (3 + 3)),  # "a" is an article
        ([], "", 1, 1),
        ([], "Paris", 0, 0),
        (["Paris"], "", 0, 0),
        (["x x y"], "x x x", 0, 2 * 2 / 6),
    ],
)
def test_squad(answers: list[str], value: str, exact: float, f1: float) -> None:
    assert exact_match(answers, value) == exact
    assert token_f1(answers, value) == pytest.approx(f1)
