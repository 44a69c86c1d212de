import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.worker.pace import LATEST_S, SOONEST_S, Budget, Pace, Turnover


@given(
    st.lists(
        st.tuples(st.integers(1, 512), st.integers(0, 512), st.floats(0.01, 1e5, allow_nan=False)),
        max_size=20,
    ),
    st.integers(1, 512),
)
def test_pace_stays_between_its_bounds(seen: list[tuple[int, int, float]], largest: int) -> None:
    pace = Pace()
    for tokens, prefill, milliseconds in seen:
        pace.observe(tokens, min(prefill, tokens), milliseconds)
    budget = pace.budget(largest)
    for size in (budget.paced, budget.short):
        assert min(pace.smallest, largest) <= size <= largest


def test_pace_gives_pieces_that_slow_streams_by_its_factor_only() -> None:
    pace = Pace(slowdown=3, smallest=4)
    assert pace.budget(512) == Budget(4, 4)  # nothing is known yet
    pace.observe(100, 100, 200)  # 2 ms a token
    pace.observe(8, 0, 40)
    assert pace.budget(512) == Budget(paced=40, short=300)
    assert pace.budget(100) == Budget(40, 100)


def test_a_token_of_a_piece_costs_what_its_step_took_beyond_the_streams() -> None:
    pace = Pace(slowdown=3, smallest=1)
    pace.observe(100, 100, 200)
    pace.observe(8, 0, 40)
    for _ in range(40):
        pace.observe(18, 10, 40 + 10 * 16)  # 16 ms a token, late in a long prompt
    assert pace.budget(512) == Budget(paced=5, short=300)


def test_pace_follows_a_change_of_speed() -> None:
    pace = Pace(smallest=1)
    pace.observe(100, 100, 100)
    for _ in range(30):
        pace.observe(100, 100, 600)
    assert pace.budget(512).short == pytest.approx(600 / 6, abs=1)


def test_pace_ignores_pieces_until_it_knows_the_streams() -> None:
    pace = Pace()
    pace.observe(100, 10, 1000)
    assert pace == Pace()


def test_a_refused_client_comes_back_when_all_that_wait_have_begun() -> None:
    turnover = Turnover()
    for _ in range(3):
        turnover.observe(2.0)
    assert turnover.retry_after_s(ahead=40, places=8, oldest_s=0.1) == pytest.approx(10)
    for _ in range(40):
        turnover.observe(4.0)
    assert turnover.retry_after_s(ahead=40, places=8, oldest_s=0.1) == pytest.approx(20, rel=0.01)


def test_before_anything_has_ended_the_oldest_that_runs_is_the_measure() -> None:
    assert Turnover().retry_after_s(ahead=6, places=2, oldest_s=5.0) == 15


@given(
    st.lists(st.floats(0, 1e9), max_size=5),
    st.integers(0, 10**6),
    st.integers(0, 128),
    st.floats(0, 1e9),
)
def test_the_time_to_come_back_is_always_sane(
    seen: list[float], ahead: int, places: int, oldest_s: float
) -> None:
    turnover = Turnover()
    for seconds in seen:
        turnover.observe(seconds)
    assert SOONEST_S <= turnover.retry_after_s(ahead, places, oldest_s) <= LATEST_S
