"""Workloads against servers that answer as they are told to."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clients.bench import main as bench
from clients.bench import plot
from clients.bench.http import Endpoint
from clients.bench.load import WARM_UP, Plan, in_turn
from clients.bench.mixed import ALONE
from clients.bench.workload import WORKLOADS, Case
from tests.unit.clients.conftest import USAGE, chunk

Body = dict[str, Any]
Answer = Callable[[Body], "int | Iterator[bytes]"]
DEADLINE_S = 20.0


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chat(body: Body) -> Iterator[bytes]:
    """As many choices as are asked for, of three pieces each."""
    for index in range(body.get("n") or 1):
        for text in ("a", "b", "c"):
            yield event({"choices": [{"index": index, "delta": {"content": text}}]})
        ended = {"index": index, "delta": {}, "finish_reason": "stop"}
        yield event({"choices": [ended]})
    yield event(chunk(None, usage=USAGE))
    yield b"data: [DONE]\n\n"


def says(text: str) -> Iterator[bytes]:
    yield event(chunk({"content": text}))
    yield event(chunk({}, "stop"))
    yield b"data: [DONE]\n\n"


class Server:
    """One that answers each body as `answer` says: a status, or pieces of a body of status 200."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[Body] = []
        self.url = ""


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    made = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, [json.dumps({"data": [{"id": "m"}]}).encode()])

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.bodies.append(body)
            if "input" in body:
                vectors = {"data": [{"index": n} for n, _ in enumerate(body["input"])]}
                self._send(200, [json.dumps(vectors).encode()])
                return
            answered = made.answer(body)
            if isinstance(answered, int):
                self._send(answered, [b'{"error": {"message": "not here"}}'])
            else:
                self._send(200, answered)

        def _send(self, status: int, pieces: Any) -> None:
            self.send_response(status)
            self.end_headers()
            with suppress(ConnectionError):  # the client may hang up
                for piece in pieces:
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JURAT_URL", "JURAT_API_KEY", "OPENAI_API_KEY", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def run(tmp_path: Path, *arguments: str) -> tuple[int, Any]:
    saved = tmp_path / "run.json"
    status = bench.main([*arguments, "--model", "m", "--save", str(saved)])
    return status, json.loads(saved.read_text())


def case_of(workload: str, concurrency: int, at: int = 0) -> Case:
    return WORKLOADS[workload].cases([concurrency])[at]


def bodies(workload: str, case: Case, tokens: int = 48) -> list[list[Body]]:
    made = WORKLOADS[workload].requests(random.Random(0), case, "m", tokens)
    return [[request.body for request in client] for client in made]


def text_of(body: Body) -> str:
    return body["messages"][0]["content"]


@pytest.mark.parametrize("workload", list(WORKLOADS))
def test_requests_are_the_same_at_every_run_and_new_in_every_round(workload: str) -> None:
    plan = Plan("m", workload, [3], 48, 2, seed=1)
    assert plan.cases
    seen: list[str] = []
    for case in plan.cases:
        assert plan.requests(case, 0) == plan.requests(case, 0)
        for turn in (0, 1, WARM_UP):
            clients = plan.requests(case, turn)
            one = clients[:1] if case.separate else clients
            for client in one:
                for request in client:
                    given = request.body.get("input") or [text_of(request.body)]
                    seen += given
    assert len(set(seen)) == len(seen)


def test_a_shared_context_is_shared() -> None:
    texts = [text_of(body).rpartition("\n\n") for (body,) in bodies("shared-context", Case("", 40))]
    assert len(texts) == 40
    assert len({context for context, _, _ in texts}) == 1
    assert len({question for _, _, question in texts[:8]}) == 8


def test_long_prompts_have_no_beginning_in_common() -> None:
    texts = [text_of(body) for (body,) in bodies("long-prompt", case_of("long-prompt", 4))]
    assert len({text[:24] for text in texts}) == 4
    assert all(len(text) > 4_000 for text in texts)


def test_voters_ask_for_samples_in_one_request_or_in_several() -> None:
    one, together, apart = WORKLOADS["voters"].cases([5])
    ((single,),) = bodies("voters", one)
    ((sampled,),) = bodies("voters", together)
    separate = [body for (body,) in bodies("voters", apart)]
    assert "n" not in single
    assert sampled["n"] == 5
    assert separate == [single] * 5
    assert {single["temperature"], sampled["temperature"]} == {0.8}
    assert single["ignore_eos"] is sampled["ignore_eos"] is True
    assert single["max_tokens"] == 48


def test_members_are_asked_over_a_context_that_only_the_request_has() -> None:
    one, three = WORKLOADS["ensemble"].cases([3])
    ((alone,),) = bodies("ensemble", one)
    ((asked,),) = bodies("ensemble", three)
    assert alone["ensemble"]["members"] == ["smollm2-135m"]
    assert asked["ensemble"]["members"] == ["smollm2-135m"] * 3
    assert asked["ensemble"]["early_stop"] is False
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert len(text_of(asked)) > 2_000


def test_mixed_is_streams_without_end_and_one_long_prompt() -> None:
    *streams, prompt = [body for (body,) in bodies("mixed", case_of("mixed", 4), 1024)]
    assert [(body["ignore_eos"], body["max_tokens"]) for body in streams] == [(True, 1024)] * 4
    assert "ignore_eos" not in prompt
    assert len(text_of(prompt)) > 10_500


def test_embeddings_come_one_by_one_and_in_a_batch() -> None:
    single, batch = WORKLOADS["embeddings"].cases([64])
    made = bodies("embeddings", single)
    assert len(made) == 64
    assert {len(body["input"]) for client in made for body in client} == {1}
    (client,) = bodies("embeddings", batch)
    assert {len(body["input"]) for body in client} == {64}


def test_structured_asks_for_a_schema() -> None:
    ((body,),) = bodies("structured", case_of("structured", 1))
    form = body["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"]["required"]


def test_every_server_comes_first_equally_often() -> None:
    servers = [Endpoint(name, "http://h") for name in "abc"]
    orders = [[each.name for each in in_turn(servers, turn)] for turn in range(6)]
    assert [order[0] for order in orders] == ["a", "b", "c"] * 2
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_a_peer_that_lacks_a_feature_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(chat) as ours, serving(lambda body: 400 if "n" in body else chat(body)) as peer:
        given = (ours.url, "--peer", f"p={peer.url}", "--workload", "voters", "--rounds", "2")
        status, result = run(tmp_path, *given)
    assert status == 0
    (report,) = result["workloads"]
    (lacking,) = report["lacking"]
    assert (lacking["server"], lacking["case"]) == ("p", "k=5, one request with n")
    assert "not here" in lacking["why"]
    assert [ratio["case"] for ratio in report["ratios"]] == ["k=1", "k=5, 5 requests"]
    names = [(each["server"], each["name"]) for each in report["inner"]]
    assert ("jurat", "wall time, k=5, one request with n over k=1") in names
    assert ("p", "wall time, k=5, 5 requests over k=1") in names
    assert len(names) == 3
    assert "not supported" in capsys.readouterr().out


def test_a_peer_that_passes_over_n_is_reported(tmp_path: Path) -> None:
    with serving(chat) as ours, serving(lambda body: chat({**body, "n": 1})) as peer:
        given = (ours.url, "--peer", f"p={peer.url}", "--workload", "voters", "--rounds", "1")
        status, result = run(tmp_path, *given)
    assert status == 0
    (lacking,) = result["workloads"][0]["lacking"]
    assert "1 of 5 choices" in lacking["why"]


def test_prompt_tokens_need_a_server_that_counts_them(tmp_path: Path) -> None:
    with serving(chat) as ours, serving(lambda _: says("no usage")) as peer:
        given = (ours.url, "--peer", f"p={peer.url}", "--workload", "long-prompt")
        status, result = run(tmp_path, *given, "--rounds", "1", "--concurrency", "2")
    assert status == 0
    (report,) = result["workloads"]
    (cell,) = report["results"]
    assert (cell["server"], cell["units_per_request"]) == ("jurat", USAGE["prompt_tokens"])
    assert "no usage" in report["lacking"][0]["why"]


def test_a_gateway_that_refuses_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda _: 400) as ours:
        assert bench.main([ours.url, "--model", "m", "--workload", "voters"]) == 1
    assert capsys.readouterr().err == "jurat bench: jurat: HTTP 400: not here\n"


def test_a_round_that_fails_is_void_and_the_status_says_so(tmp_path: Path) -> None:
    asked = iter(range(100))
    with serving(lambda body: 500 if next(asked) == 1 else chat(body)) as ours:
        status, result = run(tmp_path, ours.url, "--concurrency", "1", "--rounds", "3")
    (cell,) = result["workloads"][0]["results"]
    assert status == 1
    assert (cell["requests"], cell["errors"]) == (3, 1)
    assert cell["rounds"][0] is None
    assert None not in cell["rounds"][1:]


def test_json_that_does_not_fit_fails_the_run(tmp_path: Path) -> None:
    with serving(lambda _: says('{"title": 3}')) as ours:
        given = (ours.url, "--workload", "structured", "--rounds", "1", "--concurrency", "2")
        status, result = run(tmp_path, *given)
    (cell,) = result["workloads"][0]["results"]
    assert (status, cell["invalid"], cell["errors"]) == (1, 2, 0)
    assert "lacks 'device'" in cell["first_invalid"]


def test_texts_are_counted_in_both_forms(tmp_path: Path) -> None:
    with serving(chat) as ours:
        given = (ours.url, "--workload", "embeddings", "--rounds", "1", "--concurrency", "3")
        status, result = run(tmp_path, *given)
    assert status == 0
    single, batch = result["workloads"][0]["results"]
    assert (single["requests"], single["units_per_request"]) == (12, 1.0)
    assert (batch["requests"], batch["units_per_request"]) == (4, 64.0)


class Streaming:
    """Streams without end that go on when the long prompt is asked; it waits for them."""

    def __init__(self, streams: int) -> None:
        self.asked = threading.Event()
        self.went_on = threading.Semaphore(0)
        self.streams = streams

    def __call__(self, body: Body) -> Iterator[bytes]:
        if body["max_tokens"] == 16:  # warming up
            return chat(body)
        return self._stream() if body.get("ignore_eos") else self._prompt()

    def _stream(self) -> Iterator[bytes]:
        for _ in range(ALONE):
            yield event(choice_of("x"))
        assert self.asked.wait(DEADLINE_S)
        yield event(choice_of("y"))
        self.went_on.release()
        while True:
            yield event(choice_of("z"))

    def _prompt(self) -> Iterator[bytes]:
        self.asked.set()
        for _ in range(self.streams):
            assert self.went_on.acquire(timeout=DEADLINE_S)
        return chat({})


def choice_of(text: str) -> Body:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def test_a_prompt_runs_into_streams_which_are_then_hung_up_on(tmp_path: Path) -> None:
    answer = Streaming(2)
    warm_ups = iter(range(2))  # a stream and a prompt, before anything is measured
    with serving(lambda body: chat({}) if next(warm_ups, None) is not None else answer(body)) as s:
        given = (s.url, "--workload", "mixed", "--rounds", "1", "--concurrency", "2")
        status, result = run(tmp_path, *given)
    assert status == 0
    (report,) = result["workloads"]
    assert [cell["case"] for cell in report["results"]] == [
        "2 streams, alone",
        "2 streams, prefill",
    ]
    (wave,) = report["waves"]["jurat"]
    *streams, prompt = wave["samples"]
    assert all(len(stream["gaps"]) >= ALONE for stream in streams)
    assert all(cell["units_per_s"] for cell in report["results"])
    assert prompt["units"] == USAGE["completion_tokens"]


def test_a_stream_that_ends_before_the_prefill_is_an_error(tmp_path: Path) -> None:
    with serving(chat) as ours:
        given = (ours.url, "--workload", "mixed", "--rounds", "1", "--concurrency", "2")
        status, result = run(tmp_path, *given)
    assert status == 1
    (report,) = result["workloads"]
    assert "did not last" in report["results"][0]["first_error"]
    assert report["inner"][0]["median"] is None


def test_all_runs_what_it_can_and_says_what_it_could_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(chat) as ours:
        picture = tmp_path / "run.svg"
        given = (ours.url, "--workload", "all", "--rounds", "1", "--concurrency", "1")
        status, result = run(tmp_path, *given, "--plot", str(picture))
    assert status == 1
    assert "all-minilm-l6-v2" in result["skipped"]["embeddings"]
    assert "embeddings was not run" in capsys.readouterr().out
    assert "rag-ensemble" in result["skipped"]["ensemble"]
    assert len(result["workloads"]) == len(WORKLOADS) - 2
    assert "structured: tokens/s" in picture.read_text()


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_drawn_with_every_server(tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"run{suffix}"
    with serving(chat) as ours, serving(lambda body: 400 if "n" in body else chat(body)) as peer:
        given = (ours.url, "--peer", f"second={peer.url}", "--workload", "voters", "--rounds", "2")
        status, _ = run(tmp_path, *given, "--plot", str(picture))
    assert status == 0
    assert picture.stat().st_size > 5_000
    if suffix == ".svg":
        assert "second" in picture.read_text()


@pytest.mark.parametrize("name", ["run.jpg", "nowhere/run.png"])
def test_a_plot_that_could_not_be_written_is_refused_first(name: str, tmp_path: Path) -> None:
    with serving(chat) as ours:
        assert bench.main([ours.url, "--model", "m", "--plot", str(tmp_path / name)]) == 1
        assert not ours.bodies


def test_without_matplotlib_a_plot_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(_: str) -> None:
        raise ImportError

    monkeypatch.setattr(plot.importlib, "import_module", missing)
    with serving(chat) as ours:
        assert bench.main([ours.url, "--model", "m", "--plot", str(tmp_path / "a.png")]) == 1
    assert "pip install 'jurat[plot]'" in capsys.readouterr().err
