"""The words of the prompts: made from a seed, never the same twice, and nobody's text."""

import random

__all__ = ["inventory", "records", "task"]

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


def task(rng: random.Random) -> str:
    """One open-ended task of about 30 tokens."""
    a, b = rng.sample(PEOPLE, 2)
    text = rng.choice(TASKS).format(a=a, b=b, place=rng.choice(PLACES), thing=rng.choice(THINGS))
    # A number in front: no two prompts share more than the chat template's own beginning.
    return f"Task {rng.randint(1000, 999_999)}. {text}"


def records(rng: random.Random, lines: int) -> tuple[str, list[int]]:
    """Lines of about 35 tokens each, and the room numbers they are about."""
    rooms = rng.sample(range(100, 1000), lines)
    written = [
        f"Room {room} has a {rng.choice(DEVICES)} bought in {rng.randint(2012, 2025)}, "
        f"with a warranty of {rng.randint(12, 60)} months, serviced by {rng.choice(PEOPLE)}."
        for room in rooms
    ]
    return "\n".join(written), rooms


def inventory(rng: random.Random, lines: int) -> str:
    """A prompt over a long context that begins unlike every other one."""
    text, rooms = records(rng, lines)
    return (
        f"Inventory number {rng.randint(1000, 999_999)} of a building:\n{text}\n\n"
        f"Tell a long, detailed story about what stands in room {rng.choice(rooms)} "
        f"and about {rng.choice(PEOPLE)} who repairs it."
    )
