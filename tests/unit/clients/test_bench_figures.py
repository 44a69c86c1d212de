"""From times to figures: medians, void rounds, ratios, and what a prefill does to streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.bench.measure import (
    Cell,
    Sample,
    Wave,
    interference,
    ratios,
    split_by_prefill,
    summarise,
    wall_times,
)


def wave(case: str, turn: int, seconds: float, units: int = 12, error: str | None = None) -> Wave:
    samples = [Sample(units=units, duration=seconds, first=0.5)]
    if error is not None:
        samples.append(Sample(error=error))
    return Wave(case=case, turn=turn, samples=samples, seconds=seconds)


def cell(server: str, *seconds: float, void: int | None = None) -> Cell:
    waves = [
        wave("c", turn, each, error="cut" if turn == void else None)
        for turn, each in enumerate(seconds)
    ]
    return summarise(server, "c", 1, waves)


def test_a_cell_is_its_median_round() -> None:
    found = cell("jurat", 1.0, 2.0, 12.0)
    assert (found.units_per_s, found.seconds) == (6.0, 2.0)
    assert found.rounds == [12.0, 6.0, 1.0]


def test_a_round_that_failed_counts_for_nothing_but_its_error() -> None:
    found = cell("jurat", 0.001, 2.0, 3.0, void=0)
    assert (found.requests, found.errors, found.first_error) == (4, 1, "cut")
    assert found.rounds == [None, 6.0, 4.0]
    assert found.units_per_s == 5.0
    assert found.latency_ms.p50 == 2000.0


def test_with_every_round_void_there_is_no_figure() -> None:
    found = cell("jurat", 1.0, void=0)
    assert (found.units_per_s, found.seconds, found.ttft_ms.p50) == (None, None, None)


def test_percentiles_are_of_all_requests() -> None:
    samples = [Sample(units=1, first=0.1, gaps=[0.01] * 19 + [0.5], duration=1.0)]
    found = summarise("jurat", "c", 1, [Wave(case="c", turn=0, samples=samples, seconds=1.0)])
    times = found.inter_token_ms
    assert (times.p50, times.p95, times.p99) == (10.0, 10.0, 500.0)


def test_rounds_are_compared_in_pairs() -> None:
    (found,) = ratios([cell("jurat", 1.0, 2.0, 1.0), cell("peer", 2.0, 3.0, 8.0)], "jurat")
    assert (found.peer, found.median, found.low, found.high, found.rounds) == (
        "peer",
        2.0,
        1.5,
        8.0,
        3,
    )


@pytest.mark.parametrize("who", ["jurat", "peer"])
def test_a_pair_with_a_void_round_is_left_out(who: str) -> None:
    cells = [
        cell(name, 1.0, seconds, void=0 if name == who else None)
        for name, seconds in (("jurat", 1.0), ("peer", 3.0))
    ]
    (found,) = ratios(cells, "jurat")
    assert (found.median, found.rounds) == (3.0, 1)


def test_a_server_that_lacks_a_case_has_no_ratio() -> None:
    assert ratios([cell("jurat", 1.0)], "jurat") == []


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=9))
def test_a_median_ratio_lies_between_its_extremes(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (cell(name, *each) for name, each in zip("ab", zip(*pairs, strict=True)))  # noqa: B905
    (found,) = ratios([ours, theirs], "a")
    assert found.low is not None
    assert found.median is not None
    assert found.high is not None
    assert found.low <= found.median <= found.high


def test_votes_cost_wall_time_of_the_same_round() -> None:
    waves = [
        wave("k=1", 0, 2.0),
        wave("k=5", 0, 3.0),
        wave("k=1", 1, 4.0),
        wave("k=5", 1, 4.0),
        wave("k=1", 2, 0.1, error="cut"),
        wave("k=5", 2, 9.0),
    ]
    (found,) = wall_times("jurat", waves, "k=1")
    assert found.name == "wall time, k=5 over k=1"
    assert (found.median, found.low, found.high, found.rounds) == (1.25, 1.0, 1.5, 2)


def streams_and_prompt(error: str | None = None, first: float | None = 3.0) -> Wave:
    """Two streams with a piece each second; the prompt is asked at 5.5, answered at 8.5."""
    slow = Sample(began=0.0, first=2.0, gaps=[1.0, 1.0, 1.0, 4.0, 1.0])  # at 2 3 4 5 9 10
    fast = Sample(began=0.0, first=1.0, gaps=[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    prompt = Sample(began=5.5, first=first, duration=3.5, units=1, prompt_tokens=4000, error=error)
    return Wave(case="2 streams", turn=0, samples=[slow, fast, prompt], seconds=10.0)


def test_gaps_are_before_a_prefill_or_touch_it() -> None:
    alone, during = split_by_prefill([streams_and_prompt()])
    assert (alone.case, during.case) == ("2 streams, alone", "2 streams, prefill")
    assert [sample.gaps for sample in alone.samples] == [[1.0] * 3, [1.0] * 3]  # 2 to 5
    # The fast stream's pieces come at 1 2 3 4 5 7 9 10 11: its gap from 5 to 7 ends inside.
    assert [sample.gaps for sample in during.samples[:2]] == [[4.0], [2.0, 2.0]]
    assert (alone.seconds, during.seconds) == (3.5, 3.0)
    over_alone, over_during = interference("jurat", [alone, during], "2 streams")
    assert (over_alone.median, over_alone.rounds) == (4.0, 1)
    assert (over_during.median, over_during.rounds) == (2.0, 1)


def test_a_prompt_whose_token_is_no_text_is_prefilled_when_it_is_answered() -> None:
    _, during = split_by_prefill([streams_and_prompt(first=None)])
    assert during.seconds == 3.5
    assert [sample.gaps for sample in during.samples[:2]] == [[4.0], [2.0, 2.0]]


def test_a_prefill_that_fails_voids_both_parts() -> None:
    parts = split_by_prefill([streams_and_prompt("refused")])
    assert [part.void for part in parts] == [True, True]
    for found in interference("jurat", parts, "2 streams"):
        assert (found.median, found.rounds) == (None, 0)
    cells = [summarise("jurat", part.case, 2, [part]) for part in parts]
    assert sum(each.errors for each in cells) == 1
