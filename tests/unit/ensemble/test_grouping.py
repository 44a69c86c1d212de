"""Grouping and normalising, over values as models write them: properties, and no slow text."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.ground import find
from gateway.ensemble.values import is_blank, normalise, same_value
from gateway.ensemble.vote import group

UNITS = ["", "%", " %", " kg", " km", "km", " seconds", " s", " hours", "°C", " kWh", " pounds"]
MAGNITUDES = ["", "k", "M", "B", " million", " billion", " thousand"]
HEDGES = ["", "about ", "~", "up to ", "more than ", "≈ ", "about exactly "]
MONEY = ["", "£", "$", "€", "USD ", "-", "+", "-£", "minus "]
WORDS = ["fan", "the fan", "Fan.", "waste ink pad", "R-77", "naïve", "naïve", "Straße", "STRASSE"]
WORDS += ["10²", "3×10⁻⁶", "5 m²", "1'000", "rot und blau", "Smith et al.", "1/2", "≥ 5", "12:30"]
WORDS += ["İstanbul", "ﬁle", "①", "１２", "٣", "二", "yes", "No", "n/a", "", "½", "a-b", "of", "A"]
DATES = ["12 March 2024", "March 12, 2024", "2024-03-12", "12.03.2024", "March 2024", "1990s"]
LATEX = [r"$3.5 \times 10^{6}$", r"\(1{,}500\)", r"\textbf{12} s", r"$\frac{1}{2}$", r"42\%", "$x$"]

counts = st.integers(-(10**12), 10**12)
decimals = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 3))
figures = st.one_of(
    counts.map(str),
    counts.map(lambda n: f"{n:,}"),
    counts.map(lambda n: f"{n:,}".replace(",", " ")),
    counts.map(lambda n: f"{n:,}".replace(",", "\u202f")),
    decimals.map(str),
    decimals.map(lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,"))),
    decimals.map(lambda x: f"{x:e}"),
)
amounts = st.tuples(
    st.sampled_from(HEDGES),
    st.sampled_from(MONEY),
    figures,
    st.sampled_from(MAGNITUDES),
    st.sampled_from(UNITS),
).map("".join)
near = st.integers(0, 60).map(lambda n: f"{1 + n * 3e-4:.4f} kg")  # tolerances that chain
words = st.sampled_from(WORDS + DATES + LATEX)
single = st.one_of(amounts, near, words, st.text(max_size=12))
lists = st.lists(single, min_size=1, max_size=4).flatmap(
    lambda items: st.sampled_from(
        [", ".join(items), f"[{'; '.join(items)}]", " and ".join(items), f"{{{','.join(items)}}}"]
    )
)
tidy_lists = st.lists(st.one_of(counts.map(str), near, st.sampled_from(WORDS))).map(", ".join)
ranges = st.tuples(figures, st.sampled_from(["-", " to ", "–", " - "]), figures, st.just(" W"))
values = st.one_of(single, lists, ranges.map("".join))
units = st.sampled_from(["", "kg", "s", "seconds", "%", "billion litres", "K", "USD"])


@given(st.lists(st.tuples(values, units), min_size=1, max_size=9), st.randoms())
def test_which_values_share_a_group_does_not_depend_on_their_order(
    said: list[tuple[str, str]], shuffle: random.Random
) -> None:
    order = list(range(len(said)))
    shuffle.shuffle(order)
    found = [normalise(*one) for one in said]
    straight = {frozenset(places) for places in group(found)}
    turned = group([found[at] for at in order])
    assert {frozenset(order[at] for at in places) for places in turned} == straight
    assert sorted(at for places in straight for at in places) == list(range(len(said)))


@given(st.lists(st.tuples(values, units), min_size=2, max_size=6))
def test_equal_values_share_a_group_and_different_kinds_never(said: list[tuple[str, str]]) -> None:
    found = [normalise(*one) for one in said]
    for places in group([*found, *found]):
        assert {(at + len(found)) % (2 * len(found)) for at in places} == set(places)
    for places in group(found):
        kinds = {found[at].kind for at in places} - {"number"}  # yes and no may be 1 and 0
        assert len(kinds) <= 1


@given(values, units, values, units)
def test_sameness_is_symmetric_and_reflexive(a: str, u: str, b: str, v: str) -> None:
    x, y = normalise(a, u), normalise(b, v)
    assert same_value(x, x)
    assert same_value(x, y) == same_value(y, x)
    assert math.isfinite(x.low)
    assert math.isfinite(x.high)
    assert x.low <= x.high


@given(st.one_of(amounts, near, words, tidy_lists))
def test_normalising_what_was_normalised_changes_nothing(value: str) -> None:
    once = normalise(value)
    if once.kind == "text":
        assert normalise(once.text) == once


@given(values)
def test_case_and_outer_white_space_change_nothing_of_words(value: str) -> None:
    assert normalise(f" {value}\n") == normalise(value)
    if normalise(value).kind == "text":
        assert normalise(value.casefold()) == normalise(value) or any(c.isdigit() for c in value)


@given(counts, st.sampled_from(["kg", "seconds", "%", "£"]))
def test_an_amount_is_the_same_however_it_is_written(count: int, unit: str) -> None:
    spaced = f"{count:,}".replace(",", " ")
    for text in (f"{count:,} {unit}", f"{spaced} {unit}", f"about {count} {unit}"):
        assert normalise(text) == normalise(f"{count} {unit}") == normalise(str(count), unit)


PIECES = ["1", "12 ", "123,", "123 ", "1.000", ".", "-", "~", "$", "£1 ", "\\", "\\(", "\\[", "{,}"]
PIECES += [
    "\\text{",
    "\\frac{",
    "^{",
    "$a^",
    "(",
    "[",
    "a, ",
    "a and ",
    "about ",
    "in ",
    "A. ",
    "½",
]
PIECES += [
    "one ",
    "twenty ",
    "hundred ",
    "march ",
    "e5",
    "x10^",
    "to ",
    "the ",
    "a-",
    "(a",
    "\n",
    "°",
]
LONG = 10_000


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("end", ["", "x", "$"])
def test_no_text_of_ten_kilobytes_is_an_error(piece: str, end: str) -> None:
    text = (piece * LONG)[:LONG] + end
    found = normalise(text)
    assert same_value(found, normalise(text, "kg")) or found.kind == "number"
    assert is_blank(text) is (found.kind == "blank")
    find(text, f"12 kg of {text[:50]}")


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from(["", "x", "5"]))
def test_no_mixture_is_an_error_either(pieces: list[str], end: str) -> None:
    text = ("".join(pieces) * LONG)[:LONG] + end
    assert same_value(normalise(text), normalise(text))
