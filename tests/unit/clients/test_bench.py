import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.api import ClientError
from clients.bench import main as bench
from clients.bench import resources
from clients.bench.measure import Sample, percentile
from clients.bench.options import endpoints, parser, plans
from clients.bench.sse import EventReader
from clients.bench.stream import Stream, Unsupported
from clients.bench.workload import Request
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


def accumulate(payloads: list[bytes], request: Request | None = None) -> Sample:
    found = Stream(began=10.0, request=request or Request({}))
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


def test_a_usage_for_each_choice_is_added_up() -> None:
    both = events(
        choice(0, "a"), choice(1, "b"), chunk(None, usage=USAGE), chunk(None, usage=USAGE)
    )
    sample = accumulate([*both, b"[DONE]"], Request({}, choices=2))
    assert (sample.units, sample.prompt_tokens) == (6, 7)


def test_a_usage_that_runs_along_with_the_text_is_not_the_end() -> None:
    along = [{**choice(0, "a"), "usage": {**USAGE, "completion_tokens": n}} for n in (1, 2)]
    assert accumulate([*events(*along), b"[DONE]"]).units == 2
    closed = [*events(*along, chunk(None, usage=USAGE)), b"[DONE]"]
    assert accumulate(closed).units == USAGE["completion_tokens"]


def test_a_stream_that_fails_or_stops_short_is_an_error() -> None:
    with pytest.raises(ClientError, match="worker ended"):
        accumulate(events({"error": {"message": "worker ended"}}))
    with pytest.raises(ClientError, match="DONE"):
        accumulate(events(chunk({"content": "x"})))


def choice(index: int, content: str | None, reason: str | None = None) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def test_a_gap_is_between_pieces_of_the_same_choice() -> None:
    both = events(choice(0, "a"), choice(1, "b"), choice(1, "c"), choice(0, "d"))
    sample = accumulate([*both, b"[DONE]"], Request({}, choices=2))
    assert (sample.first, sample.gaps) == (1.0, [1.0, 3.0])


def test_choices_that_do_not_come_are_not_supported() -> None:
    with pytest.raises(Unsupported, match="1 of 2 choices"):
        accumulate([*events(choice(0, "a")), b"[DONE]"], Request({}, choices=2))


@pytest.mark.parametrize(
    ("text", "reason", "cut", "wrong"),
    [
        ('{"title": "x"}', "stop", False, "lacks 'device'"),
        ('{"title": "x', "stop", False, "not JSON"),
        ('{"title": "x', "length", True, None),
    ],
)
def test_an_answer_with_an_end_has_to_fit_its_schema(
    text: str, reason: str, cut: bool, wrong: str | None
) -> None:
    payloads = [*events(choice(0, text), choice(0, None, reason)), b"[DONE]"]
    sample = accumulate(payloads, Request({}, json=True))
    assert sample.cut is cut
    assert sample.invalid is None if wrong is None else wrong in (sample.invalid or "")
    assert accumulate(payloads).invalid is None


def options(*arguments: str) -> Any:
    return parser().parse_args(arguments)


def test_the_workload_gives_the_shape() -> None:
    (short,) = plans(options())
    assert (list(short.concurrency), short.tokens, short.model) == ([1, 4, 8], 64, "smollm2-135m")
    (shared,) = plans(options("--workload", "shared-context"))
    assert (list(shared.concurrency), shared.tokens) == ([8], 48)
    (given_,) = plans(options("--concurrency", "2,2,3", "--tokens", "5", "--model", "x"))
    assert (list(given_.concurrency), given_.tokens, given_.model) == ([2, 3], 5, "x")
    for bad in ("--rounds", "--tokens"):
        with pytest.raises(ClientError):
            plans(options(bad, "0"))


def test_all_is_every_workload_and_the_model_is_the_chat_model() -> None:
    found = plans(options("--workload", "all", "--model", "x"))
    assert {plan.workload: plan.model for plan in found} == {
        "short": "x",
        "long-prompt": "x",
        "shared-context": "x",
        "voters": "x",
        "ensemble": "rag-ensemble",
        "mixed": "x",
        "embeddings": "all-minilm-l6-v2",
        "structured": "x",
    }


def test_peers_get_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JURAT_API_KEY", "secret")
    found = endpoints(options("http://h:1/v1/", "--peer", "a=http://h:2"))
    assert [(each.name, each.url, each.api_key) for each in found] == [
        ("jurat", "http://h:1", "secret"),
        ("a", "http://h:2", None),
    ]
    assert "secret" not in repr(found)
    for bad in ("http://h:2", "jurat=http://h:2", "a=h"):
        with pytest.raises(ClientError):
            endpoints(options("--peer", bad))
    twice = ("--peer", "a=http://h:2", "--peer", "a=http://h:3")
    with pytest.raises(ClientError, match="'a' is given twice"):
        endpoints(options(*twice))


def test_a_peer_may_call_the_model_otherwise() -> None:
    named = ("--peer", "a=http://h:2", "--peer-model", "a=llama:8b=x")
    ours, peer = endpoints(options(*named))
    body = {"model": "m", "stream": True}
    assert ours.named(body) == body
    assert peer.named(body) == {"model": "llama:8b=x", "stream": True}
    with pytest.raises(ClientError, match="no --peer 'b'"):
        endpoints(options("--peer-model", "b=x"))


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
    (report,) = result["workloads"]
    assert [cell["server"] for cell in report["results"]] == ["jurat", "p"]
    assert [cell["requests"] for cell in report["results"]] == [4, 4]
    assert [(ratio["peer"], ratio["rounds"]) for ratio in report["ratios"]] == [("p", 2)]
    for server in ("jurat", "p"):
        samples = [sample for wave in report["waves"][server] for sample in wave["samples"]]
        assert [sample["units"] for sample in samples] == [3] * 4
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
