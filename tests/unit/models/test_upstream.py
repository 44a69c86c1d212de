"""The upstream engine against a server that does wrong things."""

import asyncio
import base64
import logging
import struct
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from models.engine import Engine
from models.engines import upstream
from models.engines.upstream import UpstreamEngine
from models.errors import (
    ContextOverflow,
    EngineCrashed,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
    QueueFull,
    Unsupported,
)
from models.settings import ModelSettings
from models.types import (
    ChatPrompt,
    EmbedRequest,
    GenerateDelta,
    GenerateRequest,
    Message,
    RerankRequest,
    Sampling,
    TextPrompt,
    TokenizeRequest,
)
from models.upstream_settings import UpstreamSettings
from tests.scripted_server import END, Asked, Script, chunk, json_answer, scripted, stream

HELLO = GenerateRequest(ChatPrompt((Message("user", "Hello"),)))
FINE = stream(chunk("Hi "), chunk("there"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "backoff", lambda attempt, jitter: 0.0)


def engine(url: str, *, kind: Any = "chat", **options: Any) -> UpstreamEngine:
    settings = UpstreamSettings(**options)
    return UpstreamEngine(ModelSettings(id="far", kind=kind, upstream=settings), url)


async def ask(one: Engine, request: GenerateRequest = HELLO) -> list[GenerateDelta]:
    return [delta async for delta in one.generate(request)]


def text(deltas: list[GenerateDelta]) -> str:
    return "".join(delta.text for delta in deltas)


async def until(true: Callable[[], bool]) -> None:
    """For what has no event; the deadline is the test's."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


async def test_an_answer_its_usage_and_its_cost() -> None:
    async with scripted(FINE) as server:
        one = engine(server.url, model="theirs", input_cost=1.0, output_cost=10.0)
        assert isinstance(one, Engine)
        deltas = await ask(one)
        await one.stop(1)
    assert [delta.text for delta in deltas] == ["Hi ", "there", ""]
    end = deltas[-1].end
    assert end is not None
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == ("stop", 7, 2)
    assert end.usage.cost == pytest.approx((7 * 1.0 + 2 * 10.0) / 1e6)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body["model"] == "theirs"
    assert asked.body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "bad",
    [
        json_answer(500, {"error": {"message": "oops"}}),
        json_answer(503, b"<html>later</html>"),
        json_answer(429, {"error": {"message": "slow down"}}, retry_after="0"),
        stream(done=False),
        stream(chunk(delta={"role": "assistant"}), done=False),
        stream("data: [DONE]\n\n", done=False),
        stream("data: {not json}\n\n", done=False),
        stream('data: {"error": {"message": "out of memory", "code": 500}}\n\n', done=False),
        stream('data: {"error": "out of memory"}\n\n', done=False),
    ],
)
async def test_what_fails_before_the_first_piece_is_repeated(bad: Script) -> None:
    async with scripted(bad, bad, FINE) as server:
        one = engine(server.url, retries=2)
        assert text(await ask(one)) == "Hi there"
        assert len(server.asked) == 3
        await one.stop(1)


async def test_retries_have_an_end_and_the_last_failure_is_told() -> None:
    async with scripted(json_answer(500, {"error": {"message": "out of memory"}})) as server:
        one = engine(server.url, retries=1)
        with pytest.raises(EngineUnavailable, match=r"'far' failed \(500\): out of memory"):
            await ask(one)
        assert len(server.asked) == 2
        await one.stop(1)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "data: {not json}\n\n",
        'data: {"choices": 3}\n\n',
        chunk(finish_reason="error"),
        "data: [DONE]\n\n",
        'data: {"error": {"message": "gone"}}\n\n',
    ],
)
async def test_a_stream_cut_after_its_first_piece_is_an_error_and_not_an_end(rest: str) -> None:
    async with scripted(stream(chunk("Hi "), rest, done=False), FINE) as server:
        one = engine(server.url)
        said: list[str] = []

        async def read() -> None:
            async for delta in one.generate(HELLO):
                said.append(delta.text)  # noqa: PERF401 - kept when it fails

        with pytest.raises(EngineCrashed, match="far"):
            await read()
        assert said == ["Hi "]
        assert len(server.asked) == 1
        await one.stop(1)


async def test_an_end_without_done_and_without_usage_is_an_end() -> None:
    async with scripted(stream(chunk("Hi"), chunk(finish_reason="stop"), done=False)) as server:
        one = engine(server.url)
        deltas = await ask(one)
        await one.stop(1)
    end = deltas[-1].end
    assert end is not None
    assert end.usage.prompt_tokens > 0
    assert end.usage.completion_tokens == 1


async def test_retry_after_is_honoured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(upstream.asyncio, "sleep", note)
    async with scripted(json_answer(429, {}, retry_after="3"), FINE) as server:
        one = engine(server.url)
        assert text(await ask(one)) == "Hi there"
        await one.stop(1)
    assert waited == [3.0]
    # Too long to keep a client waiting: it is told.
    async with scripted(json_answer(429, {}, retry_after="90")) as server:
        one = engine(server.url)
        with pytest.raises(QueueFull) as raised:
            await ask(one)
        await one.stop(1)
    assert raised.value.retry_after_s == 90
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_its_variable_and_nothing_of_the_key(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-secret")
    caplog.set_level(logging.DEBUG)
    said = {"error": {"message": "Incorrect API key: sk-secret"}}
    async with scripted(json_answer(status, said), json_answer(400, said)) as server:
        one = engine(server.url, api_key_env="FAR_KEY")
        with pytest.raises(EngineUnavailable, match="FAR_KEY") as raised:
            await ask(one)
        with pytest.raises(InvalidRequest, match=r"\[key\]") as other:
            await ask(one)
        assert server.asked[0].headers["authorization"] == "bearer sk-secret"
        assert len(server.asked) == 2
        await one.stop(1)
    assert "sk-secret" not in f"{raised.value}{other.value}{caplog.text}{one.stats()}"


async def test_a_key_that_is_not_set_is_told_to_who_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("FAR_KEY", raising=False)
    async with scripted(FINE) as server:
        one = engine(server.url, api_key_env="FAR_KEY")
        await one.start()
        assert "FAR_KEY" in one.stats().detail
        with pytest.raises(EngineUnavailable, match="set the environment variable FAR_KEY"):
            await ask(one)
        assert server.asked == []
        (tmp_path / "key").write_text("from-file\n")
        monkeypatch.setenv("FAR_KEY_FILE", str(tmp_path / "key"))
        assert text(await ask(one)) == "Hi there"
        assert server.asked[0].headers["authorization"] == "bearer from-file"
        await one.stop(1)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "maximum context length is 512 tokens, you requested 900 tokens"},
        {"message": "too much", "type": "exceed_context_size_error", "n_prompt_tokens": 900,
         "n_ctx": 512},
        {"message": "The prompt has 900 tokens; the context holds 512.",
         "code": "context_length_exceeded", "param": "messages"},
    ],
)  # fmt: skip
async def test_a_prompt_too_long_over_there_is_too_long_here(error: dict[str, Any]) -> None:
    async with scripted(json_answer(400, {"error": error})) as server:
        one = engine(server.url)
        with pytest.raises(ContextOverflow) as raised:
            await ask(one)
        await one.stop(1)
    assert (raised.value.prompt_tokens, raised.value.context) == (900, 512)
    assert len(server.asked) == 1


async def test_a_content_filter_is_told() -> None:
    async with scripted(stream(chunk("Hm", finish_reason="content_filter"), done=False)) as server:
        one = engine(server.url)
        with pytest.raises(InvalidRequest, match="content filter"):
            await ask(one)
        await one.stop(1)


async def hang(asked: Asked) -> None:
    asked.writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + chunk(delta={"role": "assistant"}).encode())
    await asked.writer.drain()
    await asked.gone()


async def test_a_first_token_that_does_not_come_has_a_limit() -> None:
    async with scripted(hang) as server:
        one = engine(server.url, first_token_timeout_s=1.0)
        with pytest.raises(EngineUnavailable, match=r"first_token_timeout_s is 1"):
            await ask(one)
        assert len(server.asked) == 1  # a slow server is not asked twice
        await one.stop(1)


async def test_a_whole_answer_has_a_limit() -> None:
    async def begin(asked: Asked) -> None:
        asked.writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + chunk("Hi").encode())
        await asked.writer.drain()
        await asked.gone()

    async with scripted(begin) as server:
        one = engine(server.url, timeout_s=1.0)
        with pytest.raises(EngineCrashed, match=r"timeout_s is 1"):
            await ask(one)
        await one.stop(1)


async def test_closing_and_cancelling_close_the_connection() -> None:
    gone = asyncio.Event()

    async def begin(asked: Asked) -> None:
        with suppress(ConnectionError):  # it may have gone before a word was written
            asked.writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + chunk("Hi").encode())
            await asked.writer.drain()
            await asked.gone()
        gone.set()

    async with scripted(begin) as server:
        one = engine(server.url)
        async with aclosing(one.generate(HELLO)) as deltas:
            assert (await anext(deltas)).text == "Hi"
            assert one.stats().running == 1
        await asyncio.wait_for(gone.wait(), 10)
        assert one.stats().running == 0
        gone.clear()
        task = asyncio.create_task(ask(one))
        await until(lambda: not (len(server.asked) < 2))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 10)
        assert one.stats().running == 0
        await one.stop(1)


async def test_stopping_fails_those_inside_and_those_that_wait() -> None:
    async with scripted(hang) as server:
        one = engine(server.url, max_concurrent=1)
        tasks = [asyncio.create_task(ask(one)) for _ in range(3)]
        await until(lambda: not (one.stats().waiting < 2 or not server.asked))
        await one.stop(5)
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert [type(each) for each in found] == [EngineUnavailable] * 3
        assert one.stats().state == "stopped"
        with pytest.raises(EngineUnavailable):
            await ask(one)


async def test_more_than_may_wait_are_refused() -> None:
    async with scripted(hang) as server:
        settings = ModelSettings(
            id="far", kind="chat", max_waiting=1, upstream=UpstreamSettings(max_concurrent=1)
        )
        one = UpstreamEngine(settings, server.url)
        tasks = [asyncio.create_task(ask(one)) for _ in range(2)]
        await until(lambda: not (one.stats().waiting < 1))
        with pytest.raises(QueueFull):
            await ask(one)
        await one.stop(5)
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_keeps_failing_is_left_alone_for_a_while() -> None:
    bad = json_answer(500, {})
    async with scripted(bad, bad, bad, FINE) as server:
        one = engine(server.url, retries=0, breaker_failures=2, breaker_cooldown_s=0.2)
        for _ in range(2):
            with pytest.raises(EngineUnavailable):
                await ask(one)
        with pytest.raises(EngineUnavailable, match="asked again in") as raised:
            await ask(one)
        assert raised.value.retry_after_s
        assert (one.stats().state, len(server.asked)) == ("failed", 2)
        assert "circuit open" in one.stats().detail
        await until(lambda: one.stats().state != "failed")
        assert "half-open" in one.stats().detail
        with pytest.raises(EngineUnavailable, match="500"):  # the trial
            await ask(one)
        assert (one.stats().state, len(server.asked)) == ("failed", 3)
        await until(lambda: one.stats().state != "failed")
        assert text(await ask(one)) == "Hi there"
        assert one.stats().state == "ready"
        assert one.stats().detail == ""
        await one.stop(1)


async def test_nobody_listens() -> None:
    async with scripted(FINE) as server:
        pass
    one = engine(server.url, retries=0)
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await ask(one)
    await one.stop(1)


async def test_the_first_request_starts_the_server_and_a_lost_one_is_started_again(
    tmp_path: Path,
) -> None:
    began, up = tmp_path / "began", tmp_path / "up"
    commands = {
        "start": ["sh", "-c", f"echo x >> {began}; touch {up}"],
        "ready": ["test", "-e", str(up)],
        "stop": ["rm", str(up)],
        "ready_interval_s": 0.01,
        "retries": 0,
    }
    async with scripted(FINE) as server:
        one = engine(server.url, **commands)
        await one.start()
        assert not began.exists()
        assert (one.stats().state, "next request" in one.stats().detail) == ("ready", True)
        asking = asyncio.create_task(ask(one))
        await until(lambda: one.stats().state == "loading")
        assert "starting" in one.stats().detail
        assert text(await asking) == "Hi there"
        assert began.read_text() == "x\n"
        assert one.stats().detail == ""
    up.unlink()  # and nobody listens there any more
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await ask(one)
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await ask(one)
    assert began.read_text() == "x\nx\n"
    await one.stop(10)
    assert not up.exists()


async def test_a_repetition_starts_a_server_that_was_lost(tmp_path: Path) -> None:
    began, up = tmp_path / "began", tmp_path / "up"
    commands = {
        "start": ["sh", "-c", f"echo x >> {began}; touch {up}"],
        "ready": ["test", "-e", str(up)],
        "ready_interval_s": 0.01,
        "retries": 1,
    }
    async with scripted(FINE) as server:
        one = engine(server.url, **commands)
        assert text(await ask(one)) == "Hi there"
    up.unlink()  # and nobody listens there any more
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await ask(one)
    assert began.read_text() == "x\nx\n"
    await one.stop(10)


async def test_a_start_that_fails_is_told_and_counts() -> None:
    one = engine("http://127.0.0.1:9/v1", start=["false"], ready=["false"], breaker_failures=2)
    for _ in range(2):
        with pytest.raises(LoadFailed, match=r"'start' \(false\) ended with status 1"):
            await ask(one)
        assert one.stats().state == "failed"
        assert "status 1" in one.stats().detail
    with pytest.raises(EngineUnavailable, match="asked again in"):
        await ask(one)
    assert (one.stats().running, one.stats().waiting) == (0, 0)
    await one.stop(10)


async def test_text_that_json_cannot_carry_is_refused() -> None:
    async with scripted(FINE) as server:
        one = engine(server.url)
        with pytest.raises(InvalidRequest, match="surrogate"):
            await ask(one, GenerateRequest(TextPrompt("\ud800")))
        assert server.asked == []
        await one.stop(1)


async def test_thoughts_calls_and_probabilities() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": ""}}
    rated = {
        "content": [
            {"token": "é", "bytes": [195], "logprob": -0.5,
             "top_logprobs": [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -3}]}
        ]
    }  # fmt: skip
    async with scripted(
        stream(
            chunk(delta={"reasoning_content": "Hm. "}),
            chunk(delta={"reasoning": "Well."}),
            chunk("x", logprobs=rated),
            chunk(delta={"tool_calls": [{"index": 0, **call}]}),
            chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
            chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
            chunk(finish_reason="tool_calls"),
            done=False,
        )
    ) as server:
        one = engine(server.url)
        request = replace(HELLO, sampling=Sampling(logprobs=1))
        deltas = await ask(one, request)
        (whole,) = await ask(one, replace(request, whole=True))
        await one.stop(1)
    assert "".join(delta.reasoning for delta in deltas) == whole.reasoning == "Hm. Well."
    calls = [each for delta in deltas for each in delta.calls]
    assert (calls[0].index, calls[0].id, calls[0].name) == (0, "c1", "f")
    assert "".join(each.arguments for each in calls) == '{"a":1}'
    (logprob,) = [each for delta in deltas for each in delta.logprobs]
    assert (logprob.piece, logprob.logprob, logprob.top) == (b"\xc3", -0.5, ((b"a", -0.1),))
    assert deltas[-1].end is not None
    assert deltas[-1].end.reason == "tool_calls"
    assert len(whole.calls) == 3
    assert whole.end is not None


async def test_vectors_come_in_order_and_as_units() -> None:
    packed = base64.b64encode(struct.pack("<2f", 3.0, 4.0)).decode()
    data = [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": packed}]
    answer = json_answer(200, {"data": data, "usage": {"prompt_tokens": 7}})
    async with scripted(json_answer(500, {}), answer) as server:
        one = engine(server.url, kind="embedding", input_cost=2.0)
        assert one.stats().dimension is None
        found = await one.embed(EmbedRequest(("a", "b")))
        assert struct.unpack("<4f", found.vectors) == pytest.approx((0.6, 0.8, 0.0, 1.0))
        assert sum(found.token_counts) == 7
        assert found.cost == pytest.approx(7 * 2.0 / 1e6)
        assert one.stats().dimension == found.dimension == 2
        assert (await one.embed(EmbedRequest(()))).token_counts == ()
        with pytest.raises(InvalidRequest):
            await one.embed(EmbedRequest(((-1,),)))
        with pytest.raises(Unsupported, match="embedding"):
            await ask(one)
        await one.stop(1)


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": [1e39]}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": "%%"}, {"index": 1, "embedding": "AAAA"}],
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
async def test_vectors_that_are_none_are_an_error(data: list[Any]) -> None:
    async with scripted(json_answer(200, {"data": data})) as server:
        one = engine(server.url, kind="embedding", retries=0)
        with pytest.raises(EngineUnavailable):
            await one.embed(EmbedRequest(("a", "b")))
        await one.stop(1)


async def test_scores_are_probabilities_in_the_order_of_the_documents() -> None:
    results = [{"index": 1, "relevance_score": -800.0}, {"index": 0, "relevance_score": 0.0}]
    answer = json_answer(200, {"results": results, "usage": {"total_tokens": 9, "cost": 0.25}})
    async with scripted(answer) as server:
        one = engine(server.url, kind="rerank", server="llama-server")
        found = await one.rerank(RerankRequest("q", ("a", "b")))
        assert found.scores == pytest.approx((0.5, 0.0))
        assert (found.tokens, found.cost) == (9, 0.25)  # what it says, where no price is set
        assert server.asked[0].path == "/v1/rerank"
        assert (await one.rerank(RerankRequest("q", ()))).scores == ()
        with pytest.raises(EngineUnavailable):
            await one.rerank(RerankRequest("q", ("a", "b", "c")))
        await one.stop(1)


async def test_what_a_server_does_not_tell_is_refused_or_estimated() -> None:
    one = engine("http://127.0.0.1:9/v1")
    asking: list[Callable[[], Any]] = [
        lambda: one.tokenize(TokenizeRequest(TextPrompt("x"))),
        lambda: one.detokenize([1]),
        lambda: one.spell([1]),
    ]
    for call in asking:
        with pytest.raises(Unsupported, match="far"):
            await call()
    counts = await one.count_tokens(["", "some words of a text", "東京"])
    assert all(count > 0 for count in counts)
    await one.stop(1)


async def test_its_end_is_the_end_of_a_slow_usage() -> None:
    """Whoever has said how the answer ended may break off."""
    assert "usage" in END

    async def cut(asked: Asked) -> None:
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
        asked.writer.write((chunk("Hi") + chunk(finish_reason="length")).encode())

    async with scripted(cut) as server:
        one = engine(server.url)
        deltas = await ask(one)
        assert (text(deltas), deltas[-1].end and deltas[-1].end.reason) == ("Hi", "length")
        await one.stop(1)
