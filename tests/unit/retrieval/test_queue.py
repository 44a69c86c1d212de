"""Whose file is ingested next."""

import asyncio
from collections.abc import Sequence

import pytest

from retrieval import queue as queue_module
from retrieval.errors import DiskFull
from retrieval.queue import IngestQueue
from retrieval.store_files import Waiting


class Files:
    """What waits, in order of age."""

    def __init__(self, owners: Sequence[str]) -> None:
        self.left = [
            Waiting(seq, 0, owner, "vs", f"{seq}.md", "", None) for seq, owner in enumerate(owners)
        ]

    def waiting(self, busy: Sequence[int]) -> list[Waiting]:
        oldest: dict[str, Waiting] = {}
        for one in self.left:
            if one.seq not in busy:
                oldest.setdefault(one.owner, one)
        return list(oldest.values())

    def ended(self, known: Sequence[Waiting]) -> list[Waiting]:
        return []


async def test_owners_take_turns() -> None:
    files = Files(["ann"] * 12 + ["bob"] * 2 + ["carl"] * 2)
    begun: asyncio.Queue[Waiting] = asyncio.Queue()
    finished = {one.seq: asyncio.Event() for one in files.left}

    async def take(waiting: Waiting) -> None:
        begun.put_nowait(waiting)
        await finished[waiting.seq].wait()
        files.left.remove(waiting)

    async def give_up(waiting: Waiting, reason: str) -> None:
        raise AssertionError(reason)

    queue = IngestQueue(files, take, give_up, ())
    queue.start()
    running = [await begun.get() for _ in range(4)]
    order = [one.owner for one in running]
    while len(order) < 16:
        finished[running.pop(0).seq].set()
        running.append(await begun.get())
        order.append(running[-1].owner)
    for one in running:
        finished[one.seq].set()
    await queue.settled()
    await queue.stop()
    # By age, the last of the others would be the very last.
    assert order == ["ann", "bob", "carl"] * 2 + ["ann"] * 10


async def test_a_full_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_FIRST_PAUSE_S", 0)
    files = Files(["ann"])
    attempts = 0

    async def take(waiting: Waiting) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 9:
            raise DiskFull
        files.left.remove(waiting)

    async def give_up(waiting: Waiting, reason: str) -> None:
        raise AssertionError(reason)

    queue = IngestQueue(files, take, give_up, ())
    queue.start()
    await queue.settled()
    await queue.stop()
    assert attempts == 9
