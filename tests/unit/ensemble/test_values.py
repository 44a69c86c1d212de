import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.values import is_blank, normalise, same_value

SAME = [
    ("1,000", "1000"),
    ("2B", "2 billion"),
    ("3.5k", "3,500"),
    ("about 5", "5"),
    ("approximately 1.2 million", "1200000"),
    ("5%", "5 percent"),
    ("80-90", "80 – 90"),
    ("from 80 to 90 W", "80-90 watts"),
    ("between 80 and 90", "[80, 90]"),
    ("12 seconds", "12 s"),
    ("for 12 seconds", "12"),
    ("£7", "7 pounds a month"),
    ("five", "5"),
    ("1.2e5", "1.2 x 10^5"),
    ("The waste ink pad.", "waste ink pad"),
    ("“Stanbourne”", "stanbourne"),
    ("True", "yes"),
    ("[b, a]", "[A, B]"),
    ("195 °C", "195 degrees Celsius"),
    ("n/a", ""),
    ("Jevons’ Paradox", "Jevons' paradox"),
    ("neural architecture search (NAS)", "Neural Architecture Search"),
    ("server-level", "server level"),
    ("March 5, 2023", "5 March 2023"),
    ("5th of March 2023", "2023-03-05"),
    ("Mar 2023", "March, 2023"),
    ("wind, solar and hydro", "[Solar; hydro; wind]"),
    ("{1,2,3}", "[3, 2.0, 1]"),
    ("Alpha and Beta", "Beta, Alpha"),
    (r"$3.5 \times 10^{6}$", "3.5e6"),
    (r"\(1{,}500\)", "1,500"),
    (r"42\%", "42 percent"),
    (r"$\approx 5$", "5"),
    (r"\textbf{12} \text{seconds}", "12 s"),
    (r"$\frac{1}{2}$", "1/2"),
    ("$42$", "42"),
]
DIFFERENT = [
    ("12 seconds", "12 hours"),
    ("12", "13"),
    ("2023", "2024"),
    ("80-90", "80-95"),
    ("5%", "0.05"),
    ("yes", "no"),
    ("R-23", "23"),
    ("007", "7"),
    ("192.168.40.1", "192.168.4.01"),
    ("1/2", "1"),
    ("802.11ac", "802.11"),
    ("In use", "use"),
    ("", "0"),
    ("March 5, 2023", "March 6, 2023"),
    ("March 5", "March 2005"),
    ("03/05/2023", "05/03/2023"),
    ("[a, b]", "[a, b, c]"),
    ("[1, 2, 3]", "[1, 2, 4]"),
    ("$5", "5%"),
    ("well-being", "wellbeing"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_value_said_in_two_ways(a: str, b: str) -> None:
    assert same_value(normalise(a), normalise(b))
    assert same_value(normalise(b), normalise(a))


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_values_stay_apart(a: str, b: str) -> None:
    assert not same_value(normalise(a), normalise(b))
    assert not same_value(normalise(b), normalise(a))


def test_a_unit_beside_the_value_counts_like_one_in_it() -> None:
    assert normalise("12", "seconds") == normalise("12 s")
    assert normalise("2.5", "billion litres") == normalise("2.5 billion litres")


def test_rounding_is_forgiven_where_numbers_are_not_counts() -> None:
    assert same_value(normalise("0.3333"), normalise("0.33334"))
    assert not same_value(normalise("0.33"), normalise("0.34"))


@pytest.mark.parametrize("text", ["", " ", "N/A", "is_blank", "Unable to answer with confidence."])
def test_blanks(text: str) -> None:
    assert is_blank(text)
    assert normalise(text).kind == "blank"


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_normalises_and_sameness_is_symmetric(a: str, b: str) -> None:
    x, y = normalise(a), normalise(b)
    assert same_value(x, x)
    assert same_value(x, y) == same_value(y, x)


@given(st.floats(min_value=-1e9, max_value=1e9).map(lambda x: round(x, 3)))
def test_thousands_separators_change_nothing(number: float) -> None:
    assert same_value(normalise(f"{number:,}"), normalise(f"{number:.3f}"))
