import typing

import pytest

from models import errors
from models.types import (
    ChatPrompt,
    Constraint,
    EmbedRequest,
    EmbedResult,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Message,
    RerankRequest,
    RerankResult,
    Sampling,
    TextPrompt,
    Timings,
    TokenizeRequest,
    TokenLogprob,
    TokenPrompt,
    Usage,
)
from models.worker import messages

CHAT = ChatPrompt((Message("system", "é\u0000"), Message("user", "日本語 🙂")))
LOGPROB = TokenLogprob(b"\xe2", -0.5, ((b"a", -1.0),))
END = GenerateEnd("length", Usage(3, 4, 1), Timings(1.5, 2.5, 3.5))
FULL = GenerateRequest(
    CHAT,
    max_tokens=7,
    sampling=Sampling(0.5, 0.9, 40, 0.05, -(2**63)),
    stop=("\n\n", "###"),
    constraint=Constraint("json_schema", '{"type": "object"}'),
    owner="ann",
)
SPEC = messages.WorkerSpec(
    model="m",
    kind="chat",
    path="/models/ü.gguf",
    threads=2,
    context=1024,
    kv_tokens=2048,
    parallel=3,
    max_waiting=4,
    gpu_layers=0,
    chat_template="{{ x }}",
    safe_mode=True,
    core_lock="/tmp/cores",
)

TO_WORKER = [
    messages.Load(SPEC),
    messages.Load(messages.WorkerSpec(model="m", kind="embedding", path="p", threads=1)),
    messages.Generate(1, FULL),
    messages.Generate(2**40, GenerateRequest(TextPrompt(""))),
    messages.Generate(3, GenerateRequest(TokenPrompt((0, 1, 262143)))),
    messages.Cancel(4),
    messages.Embed(5, EmbedRequest(("text", (1, 2, 3), "", ()), "query")),
    messages.Rerank(9, RerankRequest("query", ("a", ""), "ann")),
    messages.CountTokens(8, ("text", "")),
    messages.Tokenize(6, TokenizeRequest(CHAT)),
    messages.Tokenize(6, TokenizeRequest(TextPrompt("x"))),
    messages.Detokenize(7, (1, 2), True),
    messages.Spell(8, (1, 2)),
    messages.Shutdown(),
]
FROM_WORKER = [
    messages.Ready(1024, None),
    messages.Ready(256, 384),
    messages.LoadFailure("no such tensor"),
    messages.Step(((1, GenerateDelta("a")), (2, GenerateDelta("", END, (LOGPROB,)))), 3, 4),
    messages.Step((), 0, 0),
    messages.Failed(1, "QueueFull", "text", None, (5.0,)),
    messages.Embedded(2, EmbedResult(b"\x00\x01\xff", 3, (4, 5))),
    messages.Reranked(9, RerankResult((0.5, 1.0), 7)),
    messages.Tokens(3, (1, 2)),
    messages.Counts(5, (3, 0)),
    messages.Text(4, "é"),
    messages.Pieces(5, (b"\xff", b"a")),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda m: type(m).__name__)
def test_what_the_gateway_says_arrives(message: messages.ToWorker) -> None:
    assert messages.decode_to_worker(messages.encode(message)) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda m: type(m).__name__)
def test_what_the_worker_says_arrives(message: messages.FromWorker) -> None:
    assert messages.decode_from_worker(messages.encode(message)) == message


def test_every_message_is_tried_here() -> None:
    assert {type(m) for m in TO_WORKER} == set(typing.get_args(messages.ToWorker))
    assert {type(m) for m in FROM_WORKER} == set(typing.get_args(messages.FromWorker))


@pytest.mark.parametrize(
    "error",
    [
        errors.ContextOverflow("too long", 2000, 1024),
        errors.QueueFull("full", 2.5),
        errors.Unsupported("an embedder", "model"),
        errors.InvalidRequest("bad schema", "response_format"),
        errors.InvalidRequest("no parameter"),
        errors.ModelError("something else"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_arrive_as_they_were(error: errors.ModelError) -> None:
    sent = messages.failure(9, error)
    decoded = messages.decode_from_worker(messages.encode(sent))
    assert isinstance(decoded, messages.Failed)
    assert decoded.id == 9
    arrived = messages.error_of(decoded)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
