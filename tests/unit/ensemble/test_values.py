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


WRITTEN_ELSEWHERE = [
    ("1.234,5", "1,234.5"),
    ("1 234", "1,234"),
    ("1\u202f234 km", "1234 km"),
    ("12,50 €", "€12.50"),
    ("2½", "2.5"),
    ("½ cup", "0.5 cup"),
    (".5", "0.5"),
    ("USD 3.5k", "$3,500"),
    ("about EUR 3", "€3"),
    ("3 US dollars", "$3"),
    ("€1.5m", "1.5 million euros"),
    ("1.5M€", "1.5 million euros"),
    ("10^6", "1e6"),
    ("twenty-four hours", "24 h"),
    ("one hundred and five km", "105 km"),
    ("two hundred thousand", "200,000"),
    ("3–5km", "3 to 5 km"),
    ("1.2MW", "1.2 megawatts"),
    ("12.03.2024", "2024/3/12"),
    ("Tuesday, 12 March 2024", "March 12, 2024"),
    ("the 1990s", "1990s"),
    ("Oui", "yes"),
    ("nein", "false"),
    ("14. Mai 1987", "May 14, 1987"),
    ("le 1er août 1962", "1962-08-01"),
    ("5 de março de 2020", "5 March 2020"),
    ("about -1 kg", "-1 kg"),
    ("about .5", "0.5"),
    ("-£5", "£-5"),
    ("minus 5 °C", "−5 °C"),
    ("[12 s]", "12 seconds"),
    ("[]", "n/a"),
    ("fan, 5 kg", "[5.0 kg; fan]"),
    ("about 3 kg and USD 5", "[$5, 3 kg]"),
    ("5 March 2023 and 6 March 2023", "[2023-03-06; 5th of March 2023]"),
    ("10² kg", "100 kg"),
    ("3.5×10⁶", "3.5 million"),
    ("10⁻³", "0.001"),
    ("1'000 kWh", "1000 kWh"),
    ("1’234’567.5", "1,234,567.5"),
    ("rot, grün und blau", "blau, rot, grün"),
    ("rouge, vert et bleu", "bleu, rouge, vert"),
    ("rojo y azul", "azul, rojo"),
]
NOT_THE_SAME = [
    (".5", "5"),
    ("about .5", "5"),
    ("-5 °C", "5 °C"),
    ("A-team", "the team"),
    ("5 kg, fan", "5 kg"),
    ("[1234567, 2]", "[1234568, 2]"),
    ("1990s", "1990"),
    ("Nineteen Eighty-Four", "19"),
    ("ten-year plan", "10"),
    ("two three", "5"),
    ("fifty fifty", "100"),
    ("010 200 300", "10200300"),
    ("5, 6", "5.6"),
    ("1.500", "1500"),
    ("SIM", "yes"),
    ("10²", "102"),
    ("2³", "23"),
    ("1,500¹", "15001"),
    ("5'11", "511"),
    ("1'0000", "10000"),
    ("Smith et al., 2020", "Smith, al., 2020"),
]


@pytest.mark.parametrize(("a", "b"), WRITTEN_ELSEWHERE)
def test_a_number_is_the_same_however_a_country_writes_it(a: str, b: str) -> None:
    assert same_value(normalise(a), normalise(b))


@pytest.mark.parametrize(("a", "b"), NOT_THE_SAME)
def test_what_only_looks_like_the_number_is_not(a: str, b: str) -> None:
    assert not same_value(normalise(a), normalise(b))


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
