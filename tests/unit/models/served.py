"""A generation loop over a model's file, in this process."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from models.types import GenerateEnd, GenerateRequest, TokenLogprob
from models.worker import messages
from models.worker.generation import GenerationLoop

__all__ = ["Served"]


class Served:
    """A loop, and the text and end of each answer it gave; `options` are of the WorkerSpec."""

    def __init__(self, path: Path, *, threads: int = 1, **options: Any) -> None:
        self.texts: dict[int, str] = {}
        self.ends: dict[int, GenerateEnd] = {}
        self.logprobs: defaultdict[int, tuple[TokenLogprob, ...]] = defaultdict(tuple)
        spec = messages.WorkerSpec(
            model="m",
            kind="chat",
            path=str(path),
            threads=threads,
            parallel=4,
            safe_mode=True,
            **options,
        )
        self.loop = GenerationLoop(spec, self._hear)
        self.loop.probe()

    def ask(self, requests: list[GenerateRequest]) -> list[str]:
        """Their answers, all asked for at once."""
        numbers = range(len(self.texts), len(self.texts) + len(requests))
        for number, request in zip(numbers, requests, strict=True):
            self.texts[number] = ""
            self.loop.generate(messages.Generate(number, request))
        while self.loop.busy:
            self.loop.step()
        assert set(self.ends) == set(self.texts)
        return [self.texts[number] for number in numbers]

    def _hear(self, message: messages.FromWorker) -> None:
        assert isinstance(message, messages.Step), message
        for number, delta in message.deltas:
            self.texts[number] += delta.text
            self.logprobs[number] += delta.logprobs
            if delta.end is not None:
                self.ends[number] = delta.end
