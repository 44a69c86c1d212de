"""What the load client sends: made from a seed, the same for every server, never the same twice."""

import random
from collections.abc import Callable
from typing import Any

__all__ = ["WORKLOADS", "Workload", "embeddings", "shared_context", "short"]

# Open-ended tasks: a small model goes on past 64 tokens on each of them.
TASKS = (
    "Write a long and detailed story about {a} and {b} who travel to {place}.",
    "Explain step by step, with many details, how {a} could build {thing} in {place}.",
    "Describe at length a day in the life of {a}, who lives in {place} with {b}.",
    "Write a long essay on why {a} and {b} disagree about {thing}.",
    "Give a detailed account of how {a} lost {thing} on the way to {place}.",
)
PEOPLE = (
    "a baker",
    "an astronomer",
    "a retired captain",
    "a young gardener",
    "a clockmaker",
    "two engineers",
    "an old librarian",
    "a violinist",
    "a shepherd",
    "a ferry pilot",
    "a beekeeper",
    "a school teacher",
)
PLACES = (
    "a harbour town",
    "the high mountains",
    "a desert city",
    "an island in winter",
    "a valley of vineyards",
    "the far north",
    "a railway junction",
    "a floating village",
)
THINGS = (
    "a wooden bridge",
    "a weather station",
    "a small telescope",
    "a water mill",
    "an orchard",
    "a printing press",
    "a lighthouse",
    "a sailing boat",
)
DEVICES = ("router", "printer", "laptop", "monitor", "scanner", "projector", "phone", "switch")
LINES_OF_CONTEXT = 21  # about 750 tokens for SmolLM2's tokenizer
EMBEDDING_TEXTS = 16  # a request
Workload = Callable[[random.Random, str, int, int], list[dict[str, Any]]]


def short(rng: random.Random, model: str, clients: int, tokens: int) -> list[dict[str, Any]]:
    """One short prompt per client; they differ from their first word on."""
    return [_chat(model, _task(rng), tokens) for _ in range(clients)]


def shared_context(
    rng: random.Random, model: str, clients: int, tokens: int
) -> list[dict[str, Any]]:
    """One long context for all clients and a question for each, as an ensemble or a RAG chat asks.

    The context is new in every round: a round begins with no server knowing it.
    """
    rooms = rng.sample(range(100, 1000), LINES_OF_CONTEXT)
    lines = [
        f"Room {room} has a {rng.choice(DEVICES)} bought in {rng.randint(2012, 2025)}, "
        f"with a warranty of {rng.randint(12, 60)} months, serviced by {rng.choice(PEOPLE)}."
        for room in rooms
    ]
    context = "Here is the inventory of a building.\n" + "\n".join(lines)
    asked = rng.sample(rooms, min(clients, len(rooms)))
    asked += rng.choices(rooms, k=clients - len(asked))
    return [
        _chat(
            model,
            f"{context}\n\nTell a long, detailed story about what stands in room {room} "
            f"and about {rng.choice(PEOPLE)} who repairs it.",
            tokens,
        )
        for room in asked
    ]


def embeddings(rng: random.Random, model: str, clients: int, _tokens: int) -> list[dict[str, Any]]:
    """A batch of texts of about 40 words per client."""
    return [
        {"model": model, "input": [f"{_task(rng)} {_task(rng)}" for _ in range(EMBEDDING_TEXTS)]}
        for _ in range(clients)
    ]


WORKLOADS: dict[str, Workload] = {
    "short": short,
    "shared-context": shared_context,
    "embeddings": embeddings,
}


def _task(rng: random.Random) -> str:
    a, b = rng.sample(PEOPLE, 2)
    text = rng.choice(TASKS).format(a=a, b=b, place=rng.choice(PLACES), thing=rng.choice(THINGS))
    # A number in front: no two prompts share more than the chat template's own beginning.
    return f"Task {rng.randint(1000, 999_999)}. {text}"


def _chat(model: str, text: str, tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
