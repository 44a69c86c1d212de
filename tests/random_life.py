"""Models loaded, asked, unloaded, killed and changed at random; what is left of it afterwards."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import psutil
from msgspec.structs import replace

from models.errors import ModelError
from models.registry import Registry
from models.settings import ModelSettings
from models.types import GenerateRequest, TextPrompt, TokenizeRequest

__all__ = ["Life", "children", "leftovers"]

AT_ONCE = 12
PATIENCE_S = 60.0


def children() -> set[int]:
    """Processes of this one."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


class Life:
    """Does what users, operators and accidents do to a registry, in random order."""

    def __init__(
        self, registry: Registry, models: Mapping[str, ModelSettings], seed: int, *, crash: bool
    ) -> None:
        self.random = random.Random(seed)
        self.registry = registry
        self.models = dict(models)
        self.answered = 0
        self.refused = 0
        self._crash = crash  # a request can make a worker crash
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, steps: int) -> None:
        """So many steps, several at once, and then until all of them are done."""
        for _ in range(steps):
            while len(self._tasks) >= AT_ONCE:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._step()
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)

    def _step(self) -> None:
        name = self.random.choice(list(self.models))
        draw = self.random.random()
        if draw < 0.84:
            # Often the same one, as a swap at each step would measure nothing but swaps.
            self._begin(self._ask(self._resident() or name, "hello"))
        elif draw < 0.87:
            self._begin(self._ask(name, "hello"))
        elif draw < 0.91:
            self._begin(self._go_away(self._resident() or name))
        elif draw < 0.96:
            self._begin(self._tokenize(self._resident() or name))
        elif draw < 0.97:
            self._operate(name)
        elif draw < 0.98 and self._crash:
            self._begin(self._ask(name, "crash"))
        elif draw < 0.993:
            self._kill(name)
        else:
            changed = replace(self.models[name], max_waiting=self.random.randrange(1, 99))
            self.models[name] = changed
            self.registry.reload(self.models)

    def _resident(self) -> str | None:
        ready = [name for name, one in self.registry.stats().items() if one.state == "ready"]
        return self.random.choice(ready) if ready else None

    def _begin(self, work: "asyncio.Future[None] | object") -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, model: str, text: str) -> None:
        request = GenerateRequest(TextPrompt(text), max_tokens=2, owner=str(self.random.random()))
        try:
            async with aclosing(self.registry.get(model).generate(request)) as deltas:
                async for delta in deltas:
                    self.answered += delta.end is not None
        except ModelError:
            self.refused += 1

    async def _go_away(self, model: str) -> None:
        """A client that hangs up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.random.choice([0, 0.001, 0.02])):
                await self._ask(model, "hold")

    async def _tokenize(self, model: str) -> None:
        with contextlib.suppress(ModelError):
            await self.registry.get(model).tokenize(TokenizeRequest(TextPrompt("hello")))

    def _operate(self, model: str) -> None:
        with contextlib.suppress(ModelError):
            if self.random.random() < 0.5:
                self.registry.begin_load(model)
            else:
                self.registry.unload(model)

    def _kill(self, model: str) -> None:
        pid = self.registry.stats()[model].pid
        if pid is not None and pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def leftovers(folder: Path, before: set[int]) -> list[str]:
    """Processes and files that should not be there any more."""
    alive = [f"process {pid}" for pid in children() - before]
    return alive + [str(path) for path in folder.rglob("*")]
