import io
import json
import socket
from typing import Any

import pytest

from clients import ask
from tests.unit.clients.conftest import ENSEMBLE, TIMINGS, USAGE, Gateway, chunk, deliberation

DECLINED = {**ENSEMBLE, "is_blank": True, "answer_value": "", "ref_id": []}
QUESTION = "How long is the warranty?"


def run(gateway: Gateway, *arguments: str) -> int:
    return ask.main([QUESTION, "--url", gateway.url, *arguments])


def test_it_prints_deliberation_answer_sources_and_votes(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(*deliberation())
    assert run(gateway) == 0
    out = capsys.readouterr().out
    parts = [
        "first: 36 months",
        "36 months [1]",
        "Sources",
        "[1] warranty.md, page 2  score 0.812",
        "A laptop has 36 months of [31mwarranty.",  # the escape character is gone
        "Votes",
        "907",
        "The worker ended.",
        "agreement 67 %, confidence 50 %",
    ]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    assert "\x1b" not in out


def test_passages_of_a_declined_answer_are_not_called_its_sources(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(chunk({"content": "No."}), chunk({}, "stop", ensemble=DECLINED))
    assert run(gateway) == 0
    out = capsys.readouterr().out
    assert "The nearest passages, which do not say it\n  [1] warranty.md" in out
    assert "Sources" not in out


def test_a_plain_model_has_only_an_answer(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(chunk({"content": "Hello"}), chunk({}, "stop"))
    assert run(gateway, "--model", "m") == 0
    assert capsys.readouterr().out == "Hello\n"


def test_quiet_prints_the_answer_alone(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(*deliberation())
    assert run(gateway, "--quiet") == 0
    assert capsys.readouterr().out == "36 months [1]\n"


@pytest.mark.parametrize("more", [[], ["--no-stream"]])
def test_json_is_one_object(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    if more:
        gateway.says(completion())
    else:
        gateway.streams(*deliberation())
    assert run(gateway, "--json", *more) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "answer": "36 months [1]",
        "ensemble": ENSEMBLE,
        "usage": USAGE,
        "timings": TIMINGS,
        "model": "rag-ensemble",
    }
    assert captured.err == ""


def test_without_a_stream_the_same_is_printed(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(*deliberation())
    run(gateway)
    streamed = capsys.readouterr().out
    gateway.says(completion())
    assert run(gateway, "--no-stream") == 0
    assert capsys.readouterr().out == streamed
    assert [body.get("stream") for body in gateway.bodies] == [True, False]


def test_the_options_reach_the_gateway(gateway: Gateway) -> None:
    gateway.streams(chunk({"content": "x"}, "stop"))
    more = ["--store", "a", "--store", "b", "--top-k", "3", "--members", "x, y", "--api-key", "k"]
    assert run(gateway, *more, "--system", "Be brief.", "--max-tokens", "9") == 0
    assert gateway.keys == ["Bearer k"]
    assert gateway.bodies == [
        {
            "model": "rag-ensemble",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": QUESTION},
            ],
            "max_completion_tokens": 9,
            "ensemble": {"members": ["x", "y"], "vector_store_ids": ["a", "b"], "top_k": 3},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_the_question_may_come_from_standard_input(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.streams(chunk({"content": "x"}, "stop"))
    monkeypatch.setattr("sys.stdin", io.StringIO("From a pipe?\n"))
    assert ask.main(["-", "--url", gateway.url]) == 0
    assert gateway.bodies[0]["messages"][-1]["content"] == "From a pipe?"


def test_an_ensemble_object_of_another_version_is_no_crash(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams(chunk({"content": "x"}, "stop", ensemble={"votes": 3}))
    assert run(gateway) == 0
    assert "another version" in capsys.readouterr().out


def test_a_refused_connection_is_one_line(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else's
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert ask.main([QUESTION, "--url", url]) == 1
    assert_one_line(capsys, f"Cannot reach a gateway at {url}: Connection refused.")


def test_a_wrong_key_is_one_line(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"message": "Incorrect API key.", "type": "t", "param": None, "code": "invalid_api_key"}
    gateway.says({"error": error}, 401)
    assert run(gateway) == 1
    assert_one_line(capsys, "Incorrect API key. Give a key with JURAT_API_KEY or --api-key.")


def test_an_error_in_the_stream_is_one_line(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.streams({"error": {"message": "The worker\nended.", "type": "server_error"}})
    assert run(gateway) == 1
    assert_one_line(capsys, "The worker ended.")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b'data: {"choices": [], "model": "m"}\n\n', "The stream ended before the answer did."),
        (b"data: <html>\n\n", "does not speak the OpenAI API"),
    ],
)
def test_a_broken_stream_is_one_line(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], reply: bytes, words: str
) -> None:
    gateway.reply = reply
    assert run(gateway, "--json") == 1
    assert_one_line(capsys, words)


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x", "http://", "http://x:abc"])
def test_an_address_that_is_none_is_one_line(
    capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert ask.main([QUESTION, "--url", address]) == 1
    assert_one_line(capsys, f"'{address}' is no address")


def test_ctrl_c_ends_quietly(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ask, "streamed", interrupted)
    assert run(gateway) == 130
    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize("bad", [["--top-k", "0"], ["--members", ","], ["--max-tokens", "x"]])
def test_bad_options_end_with_status_2(bad: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        ask.main([QUESTION, *bad])
    assert end.value.code == 2


def completion() -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": "36 months [1]",
        "reasoning_content": "first: 36 months\n",
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "rag-ensemble",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
        "timings": TIMINGS,
        "ensemble": ENSEMBLE,
    }


def assert_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jurat ask: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
