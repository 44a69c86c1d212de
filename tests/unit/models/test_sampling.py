import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import ModelError
from models.types import Sampling
from models.worker.sampling import Sampler, _at, _typical, log_probabilities

Row = NDArray[np.float32]


def row(*values: float) -> Row:
    return np.array(values, dtype=np.float32)


def random_row(size: int, seed: int = 0) -> Row:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def kept_by_reference(logits: Row, sampling: Sampling) -> set[int]:
    """What the cuts keep, one rule after the other in plain loops. Logits must differ."""
    order = sorted(range(len(logits)), key=lambda n: -logits[n])
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = {n: math.exp((logits[n] - logits[order[0]]) / sampling.temperature) for n in order}
    total = sum(weights.values())
    kept: list[int] = []
    mass = 0.0
    for n in order:
        kept.append(n)
        mass += weights[n]
        if mass >= sampling.top_p * total:
            break
    return {n for n in kept if weights[n] >= sampling.min_p * weights[order[0]]}


class Mask:
    """A grammar that allows some tokens."""

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        self._allowed = allowed

    def allows(self, token: int) -> bool:
        return bool(self._allowed[token])

    def allowed(self) -> NDArray[np.bool_]:
        return self._allowed


class Forced:
    """A source of numbers that goes through (0, 1) in order, so that every kept token is drawn."""

    def __init__(self, count: int) -> None:
        self._values = iter((n + 0.5) / count for n in range(count))

    def random(self) -> float:
        return next(self._values)


def support(logits: Row, sampling: Sampling, draws: int = 4000) -> set[int]:
    sampler = Sampler(sampling)
    source: Any = Forced(draws)
    sampler._random = source
    return {sampler.pick(logits) for _ in range(draws)}


def test_greedy_takes_the_largest() -> None:
    logits = random_row(1000)
    assert Sampler(Sampling(temperature=0)).pick(logits) == int(logits.argmax())
    assert Sampler(Sampling(temperature=2, top_k=1)).pick(logits) == int(logits.argmax())


@pytest.mark.parametrize("temperature", [0, 1e-50, 1e-30, 1e-6])
def test_next_to_no_temperature_is_greedy(temperature: float) -> None:
    logits = random_row(1000)
    assert Sampler(Sampling(temperature=temperature)).pick(logits) == int(logits.argmax())


def test_greedy_under_a_mask_takes_the_largest_allowed() -> None:
    logits = row(5, 4, 3, 2)
    allowed = np.array([False, False, True, True])
    assert Sampler(Sampling(temperature=0)).pick(logits, Mask(allowed)) == 2
    assert Sampler(Sampling(temperature=0)).pick(logits, Mask(np.array([True] * 4))) == 0


@given(
    st.integers(0, 2**32),
    st.floats(0.05, 2),
    st.floats(0.05, 1),
    st.integers(0, 8),
    st.floats(0, 0.5),
)
def test_a_mask_is_never_crossed(
    seed: int, temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(0, 5, 60).astype(np.float32)
    allowed = numbers.random(60) < 0.1
    allowed[numbers.integers(60)] = True
    sampler = Sampler(Sampling(temperature, top_p, top_k, min_p, seed))
    for _ in range(20):
        assert allowed[sampler.pick(logits, Mask(allowed))]


def test_a_mask_leaves_the_odds_of_what_it_allows() -> None:
    logits = row(2.0, 1.0, 3.0, 0.5, 1.5)
    allowed = np.array([True, False, False, True, True])
    sampler = Sampler(Sampling(seed=3))
    draws = [sampler.pick(logits, Mask(allowed)) for _ in range(20_000)]
    weights = np.where(allowed, np.exp(logits), 0)
    found = np.bincount(draws, minlength=5) / len(draws)
    assert np.abs(found - weights / weights.sum()).max() < 0.015


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=5),
        Sampling(top_k=1000),
        Sampling(top_p=0.5),
        Sampling(top_p=0.9),
        Sampling(top_p=0.0),
        Sampling(min_p=0.1),
        Sampling(min_p=1.0),
        Sampling(temperature=0.7, top_k=10, top_p=0.8),
        Sampling(temperature=1.5, top_k=20, top_p=0.95, min_p=0.05),
        Sampling(temperature=0.3, top_p=0.6, min_p=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_cuts_keep_what_the_reference_keeps(sampling: Sampling, seed: int) -> None:
    logits = random_row(40, seed)
    expected = kept_by_reference(logits, sampling)
    found = support(logits, sampling)
    # A kept token may be too rare to come up; one that was cut must never.
    assert found <= expected
    weights = {n: math.exp((logits[n] - logits.max()) / sampling.temperature) for n in expected}
    total = sum(weights.values())
    assert found >= {n for n in expected if weights[n] / total > 1 / 1000}


def test_a_nucleus_wider_than_what_is_sorted_first_is_exact() -> None:
    # 2,000 nearly equal tokens: half of the mass is 1,000 of them, far beyond the first 256.
    logits = (np.arange(2000)[::-1] * 1e-5).astype(np.float32)
    sampling = Sampling(top_p=0.5)
    expected = kept_by_reference(logits, sampling)
    found = support(logits, sampling, draws=20_000)
    assert 900 < len(expected) < 1100
    # Sums of float32 and float64 may differ by the token on the edge.
    assert len(found ^ expected) <= 1


def test_frequencies_follow_softmax() -> None:
    logits = random_row(12, 3) / 2
    temperature, draws = 0.8, 20_000
    weights = np.exp(logits.astype(np.float64) / temperature)
    expected = weights / weights.sum() * draws
    sampler = Sampler(Sampling(temperature=temperature, seed=11))
    counts = np.bincount([sampler.pick(logits) for _ in range(draws)], minlength=12)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 31.3  # 11 degrees of freedom, p = 0.001; the seed is fixed


def test_a_seed_fixes_the_stream_whatever_else_runs() -> None:
    rows = [random_row(500, n) for n in range(30)]
    alone = Sampler(Sampling(seed=5))
    expected = [alone.pick(logits) for logits in rows]
    again, other = Sampler(Sampling(seed=5)), Sampler(Sampling(seed=6))
    found: list[int] = []
    others: list[int] = []
    for logits in rows:
        others.append(other.pick(logits))
        found.append(again.pick(logits))
    assert found == expected
    assert others != expected


def test_without_a_seed_two_requests_differ() -> None:
    rows = [random_row(500, n) for n in range(30)]
    first, second = Sampler(Sampling()), Sampler(Sampling())
    assert [first.pick(logits) for logits in rows] != [second.pick(logits) for logits in rows]


@pytest.mark.parametrize("seed", [-1, -(2**63), 0, 2**63 - 1])
def test_any_integer_is_a_seed(seed: int) -> None:
    logits = random_row(500)
    first, second = Sampler(Sampling(seed=seed)), Sampler(Sampling(seed=seed))
    assert [first.pick(logits) for _ in range(5)] == [second.pick(logits) for _ in range(5)]


def test_logits_of_minus_infinity_are_never_drawn() -> None:
    logits = row(-np.inf, 1, -np.inf, 0)
    sampler = Sampler(Sampling(seed=1, top_p=0.99))
    assert {sampler.pick(logits) for _ in range(200)} == {1, 3}


def test_penalties_and_biases_move_logits_as_documented() -> None:
    logits = row(2.0, -1.0, 0.5, 3.0, 1.0)
    sampling = Sampling(
        temperature=0,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        repetition_penalty=2.0,
        logit_bias=((4, 10.0),),
        ignore_eos=True,
    )
    sampler = Sampler(sampling, prompt=[0, 1], ends={3})
    for _ in range(2):
        sampler.accept(2)
    found = sampler._edited(logits)
    # 0 and 1 stand in the prompt; 2 too was seen, and made twice.
    expected = [2.0 / 2, -1.0 * 2, 0.5 / 2 - 2 * 0.25 - 0.5, -math.inf, 11.0]
    assert found.tolist() == pytest.approx(expected)
    assert logits.tolist() == [2.0, -1.0, 0.5, 3.0, 1.0], "the row itself is left alone"
    assert sampler.pick(logits) == 4


def test_a_frequency_penalty_ends_a_repetition() -> None:
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=1.0))
    made: list[int] = []
    for _ in range(6):
        made.append(sampler.pick(row(2.5, 1.2, 0.0)))
        sampler.accept(made[-1])
    assert made == [0, 0, 1, 0, 1, 2]


@pytest.mark.parametrize("mass", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_typical_keeps_the_least_surprising_surprises(mass: float, seed: int) -> None:
    logits = random_row(40, seed)
    weights = [math.exp(value) for value in logits]
    p = [weight / sum(weights) for weight in weights]
    entropy = -sum(x * math.log(x) for x in p)
    expected: set[int] = set()
    held = 0.0
    for n in sorted(range(40), key=lambda n: abs(-math.log(p[n]) - entropy)):
        expected.add(n)
        held += p[n]
        if held >= mass:
            break
    assert support(logits, Sampling(typical_p=mass)) <= expected
    assert set(_typical(np.exp(logits), mass).tolist()) == expected


@given(st.integers(0, 2**32), st.integers(2, 700), st.integers(0, 20))
def test_log_probabilities_are_those_of_a_softmax(seed: int, size: int, top: int) -> None:
    logits = random_row(size, seed)
    top = min(top, size)
    exact = logits.astype(np.float64)
    reference = exact - exact.max() - np.log(np.exp(exact - exact.max()).sum())
    token = seed % size
    found, best = log_probabilities(logits, token, top)
    assert found == pytest.approx(float(reference[token]), abs=1e-5)
    assert [value for _, value in best] == pytest.approx(
        sorted(reference.tolist(), reverse=True)[:top], abs=1e-5
    )
    assert all(value == pytest.approx(float(reference[n]), abs=1e-5) for n, value in best)


@given(st.integers(0, 2**32), st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_what_has_no_weight_is_never_drawn(seed: int, size: int, uniform: float) -> None:
    numbers = np.random.default_rng(seed)
    weights = numbers.random(size).astype(np.float32) ** 8
    weights[numbers.random(size) < 0.9] = 0
    weights[numbers.integers(size)] = 1e-3
    at = _at(weights, uniform)
    assert weights[at] > 0
    heights = weights.astype(np.float64).cumsum() / weights.sum(dtype=np.float64)
    rounding = 1e-5  # blocks are summed in single precision
    assert (heights[at - 1] if at else 0) <= uniform + rounding
    assert uniform <= heights[at] + rounding


def test_the_ends_of_the_range_are_drawn_from_too() -> None:
    weights = np.zeros(1000, np.float32)
    weights[[3, 997]] = 1
    assert _at(weights, 0.0) == 3
    assert _at(weights, float(np.nextafter(1.0, 0.0))) == 997


@pytest.mark.parametrize("penalty", [5e-324, 1e-300, 1e-38, 1e-30, 1e38, 1e300])
@pytest.mark.parametrize("temperature", [0, 1e-4, 0.7])
@pytest.mark.parametrize("seen", [{3}, set(range(50))])
def test_no_penalty_is_too_much_for_a_draw(
    penalty: float, temperature: float, seen: set[int]
) -> None:
    logits = random_row(50)
    sampler = Sampler(Sampling(temperature, repetition_penalty=penalty, seed=1), sorted(seen))
    drawn = {sampler.pick(logits) for _ in range(20)}
    if seen == {3}:  # out of reach of all others, or they of it
        favoured = (penalty < 1) == (logits[3] > 0)
        assert (drawn == {3}) == favoured


@pytest.mark.parametrize("values", [(math.nan, 1.0), (-math.inf, -math.inf), (math.inf, 1.0)])
@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("constrained", [False, True])
def test_without_a_finite_logit_nothing_is_drawn(
    values: tuple[float, ...], temperature: float, constrained: bool
) -> None:
    grammar = Mask(np.array([True, False])) if constrained else None
    with pytest.raises(ModelError, match="finite"):
        Sampler(Sampling(temperature)).pick(row(*values), grammar)
