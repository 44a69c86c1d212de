"""One round of the embedding loop as many clients use it, and the same texts as one list."""

import random
import time
from collections.abc import Sequence
from typing import Protocol

from models.errors import ModelError
from models.types import EmbedRequest
from models.worker import messages
from models.worker.cores import CoreLock
from models.worker.embedding import EmbeddingLoop, TextEncoder

__all__ = ["ListEncoder", "list_rate", "loop_rate", "texts_of"]

WORDS = ("lamp", "router", "river", "door", "glass", "paper", "north", "seven", "quiet", "copper")


class ListEncoder(TextEncoder, Protocol):
    """One whose library takes a list of texts too."""

    def encode(self, texts: Sequence[str]) -> None:
        """Vectors of all texts, thrown away."""
        ...


def texts_of(seed: object, count: int) -> list[str]:
    """So many texts of 8 to 64 words."""
    draw = random.Random(str(seed))  # noqa: S311 - not a secret
    return [" ".join(draw.choices(WORDS, k=draw.randint(8, 64))) for _ in range(count)]


def loop_rate(encoder: TextEncoder, texts: Sequence[str], clients: int) -> float:
    """Texts a second of clients with one text a request, each asking again once it is answered.

    Answers are encoded as for the gateway but not sent. Raises ModelError where one fails.
    """
    left = list(enumerate(texts))[::-1]
    answered: list[int] = []

    def receive(message: messages.FromWorker) -> None:
        messages.encode(message)
        if not isinstance(message, messages.Embedded):
            raise ModelError(f"a request was answered with {message}")
        answered.append(message.id)

    loop = EmbeddingLoop(encoder, CoreLock(None), receive)
    began, asked = time.perf_counter(), 0
    while len(answered) < len(texts):
        while left and asked - len(answered) < clients:
            number, text = left.pop()
            loop.embed(messages.Embed(number, EmbedRequest((text,))))
            asked += 1
        loop.step()
    return len(texts) / (time.perf_counter() - began)


def list_rate(encoder: ListEncoder, texts: Sequence[str]) -> float:
    """Texts a second of the library's own way with a list."""
    began = time.perf_counter()
    encoder.encode(texts)
    return len(texts) / (time.perf_counter() - began)
