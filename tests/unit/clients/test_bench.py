import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.api import ClientError
from clients.bench import main as bench
from clients.bench import resources
from clients.bench.load import Plan, Stream
from clients.bench.measure import Cell, Sample, Wave, percentile, ratios, summarise
from clients.bench.sse import EventReader
from clients.bench.workload import WORKLOADS
from tests.unit.clients.conftest import USAGE, Gateway, chunk


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@given(
    st.lists(st.floats(allow_nan=False), min_size=1), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0])
)
def test_enough_values_do_not_exceed_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


@given(
    st.lists(st.binary(min_size=1).filter(lambda data: not {10, 13} & set(data)), max_size=8),
    st.sampled_from([b"\n", b"\r\n"]),
    st.data(),
)
def test_events_survive_any_cut(payloads: list[bytes], end: bytes, data: st.DataObject) -> None:
    frames = [b": comment" + end + end]
    frames += [b"event: x" + end + b"data: " + payload + end + end for payload in payloads]
    whole = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    reader = EventReader()
    found: list[bytes] = []
    for begin, until in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += reader.feed(whole[begin:until])
    assert found == payloads


def test_lines_of_one_event_are_joined() -> None:
    assert EventReader().feed(b"data: a\ndata:b\n\n") == [b"a\nb"]


def events(*chunks: object) -> list[bytes]:
    return [json.dumps(item).encode() for item in chunks]


def accumulate(payloads: list[bytes]) -> Sample:
    found = Stream(began=10.0)
    for number, payload in enumerate(payloads):
        found.event(payload, 11.0 + number)
    return found.sample(20.0)


def test_a_stream_is_timed_from_text_to_text() -> None:
    sample = accumulate(
        [
            *events(
                chunk({"role": "assistant", "content": None}),
                chunk({"reasoning_content": "a"}),
                chunk({"content": ""}),
                chunk({"content": "b"}),
                chunk({}, "length"),
                chunk(None, usage=USAGE),
            ),
            b"[DONE]",
        ]
    )
    assert (sample.first, sample.gaps, sample.duration) == (2.0, [2.0], 10.0)
    assert (sample.units, sample.prompt_tokens) == (3, 7)


def test_without_usage_pieces_are_counted() -> None:
    pieces = events(*[chunk({"content": "x"})] * 4)
    assert accumulate([*pieces, b"[DONE]"]).units == 4


def test_a_stream_that_fails_or_stops_short_is_an_error() -> None:
    with pytest.raises(ClientError, match="worker ended"):
        accumulate(events({"error": {"message": "worker ended"}}))
    with pytest.raises(ClientError, match="DONE"):
        accumulate(events(chunk({"content": "x"})))


def test_failed_requests_count_as_errors_only() -> None:
    good = Sample(units=10, prompt_tokens=5, duration=1.0, first=0.5, gaps=[0.01, 0.03])
    waves = [
        Wave(samples=[good, Sample(error="cut")], seconds=2.0),
        Wave(samples=[good, good], seconds=2.0),
    ]
    cell = summarise("jurat", 2, waves)
    assert (cell.requests, cell.errors, cell.first_error) == (4, 1, "cut")
    assert (cell.units, cell.units_per_s, cell.rounds) == (30, 7.5, [5.0, 10.0])
    assert (cell.ttft_ms.p50, cell.inter_token_ms.p99) == (500.0, 30.0)
    assert cell.prompt_tokens == 5


def test_rounds_are_compared_in_pairs() -> None:
    def cell(server: str, *seconds: float) -> Cell:
        return summarise(
            server, 1, [Wave(samples=[Sample(units=12)], seconds=each) for each in seconds]
        )

    (found,) = ratios([cell("jurat", 1.0, 2.0), cell("peer", 2.0, 3.0)], ["peer"], "jurat")
    assert found.units_per_s == pytest.approx(5 / 3)
    assert (found.low, found.high) == (1.5, 2.0)


@pytest.mark.parametrize("workload", list(WORKLOADS))
def test_requests_are_the_same_at_every_run_and_differ_within_one(workload: str) -> None:
    plan = Plan("m", workload, [8], 48, 2, seed=1)
    assert plan.requests(8, 0) == plan.requests(8, 0)
    every = [json.dumps(body) for turn in (0, 1, "warm-up") for body in plan.requests(8, turn)]
    assert len(set(every)) == 24


def test_a_shared_context_is_shared() -> None:
    bodies = WORKLOADS["shared-context"](random.Random(0), "m", 40, 48)
    texts = [body["messages"][0]["content"].rpartition("\n\n")[0] for body in bodies]
    assert len(bodies) == 40
    assert len(set(texts)) == 1


def options(*arguments: str) -> Any:
    return bench.parser().parse_args(arguments)


def test_the_workload_gives_the_shape() -> None:
    short = bench.plan(options())
    assert (list(short.concurrency), short.tokens, short.model) == ([1, 4, 8], 64, "smollm2-135m")
    shared = bench.plan(options("--workload", "shared-context"))
    assert (list(shared.concurrency), shared.tokens) == ([8], 48)
    given_ = bench.plan(options("--concurrency", "2,2,3", "--tokens", "5", "--model", "x"))
    assert (list(given_.concurrency), given_.tokens, given_.model) == ([2, 3], 5, "x")
    with pytest.raises(ClientError):
        bench.plan(options("--rounds", "0"))


def test_peers_get_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JURAT_API_KEY", "secret")
    found = bench.endpoints(options("http://h:1/v1/", "--peer", "a=http://h:2"))
    assert [(each.name, each.url, each.api_key) for each in found] == [
        ("jurat", "http://h:1", "secret"),
        ("a", "http://h:2", None),
    ]
    assert "secret" not in repr(found)
    for bad in ("http://h:2", "jurat=http://h:2", "a=h"):
        with pytest.raises(ClientError):
            bench.endpoints(options("--peer", bad))


def test_a_run_prints_and_saves_one_object(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gateway.streams(chunk({"content": "x"}), chunk({}, "stop"), chunk(None, usage=USAGE))
    saved = tmp_path / "run.json"
    arguments = [gateway.url, "--model", "m", "--concurrency", "2", "--rounds", "2", "--json"]
    assert bench.main([*arguments, "--peer", f"p={gateway.url}", "--save", str(saved)]) == 0
    out = capsys.readouterr().out
    result = json.loads(out)
    assert saved.read_text() == out
    assert [cell["server"] for cell in result["results"]] == ["jurat", "p"]
    assert [cell["units"] for cell in result["results"]] == [12, 12]
    assert [ratio["peer"] for ratio in result["ratios"]] == ["p"]
    assert len(gateway.bodies) == 2 * (1 + 2 * 2)


def test_a_run_for_people_has_no_colour_codes_in_a_pipe(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(chunk({"content": "x"}), chunk({}, "stop"), chunk(None, usage=USAGE))
    arguments = [gateway.url, "--model", "m", "--concurrency", "1", "--rounds", "1"]
    assert bench.main([*arguments, "--peer", f"p={gateway.url}"]) == 0
    captured = capsys.readouterr()
    assert "tokens/s" in captured.out
    assert "above 1: jurat is faster" in captured.out
    assert "\x1b" not in captured.out + captured.err


@pytest.mark.parametrize("model", ["m", "unknown"])
def test_a_run_that_cannot_work_ends_at_once(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    gateway.says({"error": {"message": "no such thing"}}, 404)
    assert bench.main([gateway.url, "--model", model]) == 1
    error = capsys.readouterr().err
    assert error.startswith("jurat bench: ")
    assert ("no such thing" if model == "m" else "it has: m") in error
    assert error.count("\n") == 1


def test_a_process_is_read_from_proc() -> None:
    reading = resources.read(os.getpid())
    assert reading.parent == os.getppid()
    assert 1 < reading.rss <= reading.peak
    assert reading.cpu > 0
    assert resources.read_tree(os.getpid())[0].pid == os.getpid()
    with pytest.raises(ClientError, match="Cannot read process"):
        resources.read(2**22 + 1)  # above Linux's highest process id
