"""What the load client sends: made from a seed, the same for every server, never the same twice."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from clients.bench import prompts
from clients.bench.json_check import SCHEMA

__all__ = ["WORKLOADS", "Case", "Request", "Unit", "Workload"]

CONTEXT_LINES = 21  # about 750 tokens for SmolLM2's tokenizer
LONG_LINES = 44  # about 1,500
PREFILL_LINES = 120  # about 4,000, and with the chat template still under 4,096
VOTER_TEMPERATURE = 0.8
BATCH_OF_TEXTS = 64
REPEATS = 4  # embeddings requests of a client in a round: one alone takes milliseconds
CHAT_MODEL = "smollm2-135m"
EMBEDDING_MODEL = "all-minilm-l6-v2"
ENSEMBLE = "rag-ensemble"
QUESTION = "How long do I hold the reset button of the R200?"  # of the sample handbook

Unit = Literal["tokens", "prompt tokens", "texts"]
Body = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One line of a workload's table: how many clients ask at once, and how."""

    name: str
    clients: int
    samples: int = 1  # of one prompt (`voters`); members; texts of a request (`embeddings`)
    separate: bool = False  # the samples are requests of their own


@dataclass(frozen=True)
class Request:
    """A body for a server and what makes its answer complete."""

    body: Body
    choices: int = 1
    json: bool = False  # the answer has to fit json_check.SCHEMA


@dataclass(frozen=True)
class Workload:
    """How a workload is made. `requests` gives, for each client, what it sends one by one."""

    says: str
    cases: Callable[[Sequence[int]], list[Case]]
    requests: Callable[[random.Random, Case, str, int], list[list[Request]]]
    concurrency: tuple[int, ...]
    tokens: int
    unit: Unit = "tokens"
    model: str = CHAT_MODEL
    # Cases whose wall time is compared with the first one's.
    baseline: str | None = None
    interferes: bool = field(default=False)  # the last client's request runs into the others'


def short(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """One short prompt per client; they differ from their first word on."""
    return [[Request(_chat(model, prompts.task(rng), tokens))] for _ in range(case.clients)]


def long_prompt(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """A long prompt per client; no two have more in common than the chat template."""
    return [
        [Request(_chat(model, prompts.inventory(rng, LONG_LINES), tokens))]
        for _ in range(case.clients)
    ]


def shared_context(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """One long context for all clients and a question for each, as an ensemble or a RAG chat asks.

    The context is new in every round: a round begins with no server knowing it.
    """
    lines, rooms = prompts.records(rng, CONTEXT_LINES)
    context = f"Here is the inventory of a building.\n{lines}"
    asked = rng.sample(rooms, min(case.clients, len(rooms)))
    asked += rng.choices(rooms, k=case.clients - len(asked))
    return [
        [
            Request(
                _chat(
                    model,
                    f"{context}\n\nTell a long, detailed story about what stands in room {room} "
                    f"and about {rng.choice(prompts.PEOPLE)} who repairs it.",
                    tokens,
                )
            )
        ]
        for room in asked
    ]


def voters(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """`case.samples` answers to one prompt that is new to the server, each of `tokens`.

    An answer that ended early would make one case cheaper than another.
    """
    body = _chat(model, prompts.inventory(rng, CONTEXT_LINES), tokens)
    body |= {"temperature": VOTER_TEMPERATURE, "ignore_eos": True}
    if case.separate:
        return [[Request(body)] for _ in range(case.samples)]
    if case.samples > 1:
        body["n"] = case.samples
    return [[Request(body, choices=case.samples)]]


def ensemble(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """One question to `case.samples` members on one model, over a new context of 750 tokens.

    The context is the client's own system prompt: passages that were shown before are not
    prefilled again. All members are waited for.
    """
    lines, _rooms = prompts.records(rng, CONTEXT_LINES)
    body = _chat(model, QUESTION, tokens)
    body["messages"].insert(0, {"role": "system", "content": f"Our inventory:\n{lines}"})
    members = [CHAT_MODEL] * case.samples
    body["ensemble"] = {"members": members, "early_stop": False, "evidence_floor": -1.0}
    return [[Request(body)]]


def mixed(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """Streams that go on until they are hung up on, and last the prompt that runs into them."""
    streams = [_chat(model, prompts.task(rng), tokens) for _ in range(case.clients)]
    for body in streams:
        body["ignore_eos"] = True
    prefill = _chat(model, prompts.inventory(rng, PREFILL_LINES), 1)
    return [[Request(body)] for body in [*streams, prefill]]


def embeddings(rng: random.Random, case: Case, model: str, _tokens: int) -> list[list[Request]]:
    """Texts of about 50 tokens; as Open WebUI sends them, one by one, or many in a request."""

    def texts() -> list[str]:
        return [f"{prompts.task(rng)} {prompts.task(rng)}" for _ in range(case.samples)]

    return [
        [Request({"model": model, "input": texts()}, choices=case.samples) for _ in range(REPEATS)]
        for _ in range(case.clients)
    ]


def structured(rng: random.Random, case: Case, model: str, tokens: int) -> list[list[Request]]:
    """A report turned into JSON of a realistic schema."""
    form = {
        "type": "json_schema",
        "json_schema": {"name": "ticket", "strict": True, "schema": SCHEMA},
    }
    made: list[list[Request]] = []
    for _ in range(case.clients):
        line, _rooms = prompts.records(rng, 1)
        text = f"{prompts.task(rng)}\n{line}\nFill in a support ticket about the device."
        made.append([Request({**_chat(model, text, tokens), "response_format": form}, json=True)])
    return made


def _by_clients(concurrency: Sequence[int]) -> list[Case]:
    return [Case(f"{n} client{'s' if n > 1 else ''}", n) for n in concurrency]


def _by_votes(votes: Sequence[int]) -> list[Case]:
    cases = [Case("k=1", 1)]
    for k in votes:
        cases.append(Case(f"k={k}, one request with n", 1, k))
        cases.append(Case(f"k={k}, {k} requests", k, k, separate=True))
    return cases


def _by_members(members: Sequence[int]) -> list[Case]:
    return [Case(f"{n} member{'s' if n > 1 else ''}", 1, n) for n in dict.fromkeys((1, *members))]


def _beside_streams(concurrency: Sequence[int]) -> list[Case]:
    return [Case(f"{n} streams", n) for n in concurrency]


def _by_texts(concurrency: Sequence[int]) -> list[Case]:
    single = [Case(f"{n} clients, 1 text a request", n) for n in concurrency]
    return [*single, Case(f"1 client, {BATCH_OF_TEXTS} texts a request", 1, BATCH_OF_TEXTS)]


WORKLOADS: dict[str, Workload] = {
    "short": Workload("short prompts", _by_clients, short, (1, 4, 8), 64),
    "long-prompt": Workload(
        "unrelated prompts of about 1,500 tokens",
        _by_clients,
        long_prompt,
        (1, 4),
        16,
        unit="prompt tokens",
    ),
    "shared-context": Workload(
        "one context of about 750 tokens, a question for each",
        _by_clients,
        shared_context,
        (8,),
        48,
    ),
    "voters": Workload(
        "k answers to one prompt of about 750 tokens", _by_votes, voters, (5,), 48, baseline="k=1"
    ),
    "ensemble": Workload(
        "members of an ensemble on one model over one context of about 750 tokens",
        _by_members,
        ensemble,
        (3,),
        128,
        model=ENSEMBLE,
        baseline="1 member",
    ),
    "mixed": Workload(
        "streams while a prompt of about 4,000 tokens is prefilled",
        _beside_streams,
        mixed,
        (4,),
        2048,
        interferes=True,
    ),
    "embeddings": Workload(
        "texts of about 50 tokens",
        _by_texts,
        embeddings,
        (64,),
        1,
        unit="texts",
        model=EMBEDDING_MODEL,
    ),
    "structured": Workload("JSON of a schema", _by_clients, structured, (1, 8), 256),
}


def _chat(model: str, text: str, tokens: int) -> Body:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
