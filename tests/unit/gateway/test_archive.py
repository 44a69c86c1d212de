"""What is kept of responses and conversations: expiry, room, and what a killed process leaves."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from msgspec.structs import replace

from gateway.convert.items import settled
from gateway.errors import ApiError
from gateway.responses.archive import Archive
from gateway.responses.fitting import greatest, turns_of, without_first
from gateway.responses.queueing import OneAtATime
from gateway.schema.items import MessageItem, StoredItem
from gateway.schema.responses import ConversationRef, Response
from gateway.settings import ResponsesSection
from retrieval.errors import RetrievalError

DAY_S = 86_400
SETTINGS = ResponsesSection(max_responses=3, max_conversations=2, max_items=4)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive(tmp_path: Path, clock: Clock) -> Iterator[Archive]:
    found = Archive(tmp_path, SETTINGS, clock)
    yield found
    found.close()


def said(text: str, role: str = "user") -> StoredItem:
    return settled(MessageItem(role=role, content=text))  # type: ignore[arg-type]


def response(name: str, previous: str | None = None, **more: object) -> Response:
    found = Response(
        id=name,
        created_at=1,
        model="m",
        status="completed",
        previous_response_id=previous,
        output=[said(name, "assistant")],
    )
    return replace(found, **more)


async def test_what_is_used_does_not_expire_and_what_is_not_does(
    archive: Archive, clock: Clock
) -> None:
    await archive.put("a", response("r1"), [said("one")])
    await archive.put("a", response("idle"), [said("one")])
    clock.now += 20 * DAY_S
    assert len(await archive.history("a", "r1")) == 2  # goes on from it
    await archive.put("a", response("r2", "r1"), [said("two")])
    clock.now += 20 * DAY_S
    assert len(await archive.history("a", "r2")) == 4
    with pytest.raises(ApiError, match="does not exist"):
        await archive.response("a", "idle")
    clock.now += 31 * DAY_S
    with pytest.raises(ApiError, match="does not exist"):
        await archive.history("a", "r2")


async def test_a_conversation_expires_with_its_items(archive: Archive, clock: Clock) -> None:
    talk = await archive.create_conversation("a", {}, [said("one")])
    clock.now += 31 * DAY_S
    with pytest.raises(ApiError) as raised:
        await archive.conversation("a", talk.id)
    assert raised.value.status == 404


async def test_an_owner_has_room_for_so_many(archive: Archive, clock: Clock) -> None:
    for number in range(5):
        clock.now += 1
        await archive.put("a", response(f"r{number}"), [said("x")])
    await archive.put("b", response("theirs"), [said("x")])
    for name in ("r0", "r1"):
        with pytest.raises(ApiError):
            await archive.response("a", name)
    for name in ("r2", "r3", "r4"):
        await archive.response("a", name)
    await archive.response("b", "theirs")
    for _ in range(2):
        talk = await archive.create_conversation("a", {}, [])
    with pytest.raises(ApiError, match="max_conversations"):
        await archive.create_conversation("a", {}, [])
    await archive.create_conversation("b", {}, [])
    await archive.add_items("a", talk.id, [said("x")] * 1 + [said("y")] * 1)
    with pytest.raises(ApiError, match="max_items"):
        await archive.add_items("a", talk.id, [said("x"), said("y"), said("z")])
    assert len(await archive.said("a", talk.id, [])) == 2


async def test_a_conversation_deleted_meanwhile_takes_no_items(archive: Archive) -> None:
    talk = await archive.create_conversation("a", {}, [])
    await archive.delete_conversation("a", talk.id)
    named = response("r1", conversation=ConversationRef(id=talk.id))
    await archive.put("a", named, [said("x")], talk.id)
    assert (await archive.response("a", "r1")).output == named.output


async def test_both_read_what_belongs_to_both(archive: Archive) -> None:
    talk = await archive.create_conversation("a", {}, [said("before")])
    named = response("r1", conversation=ConversationRef(id=talk.id))
    await archive.put("a", named, [said("x")], talk.id)
    item = (await archive.said("a", talk.id, []))[1]
    await archive.delete_item("a", talk.id, item.id or "")
    assert len(await archive.said("a", talk.id, [])) == 2
    assert await archive.given("a", "r1") == [item]


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path, SETTINGS)
    archive._database._writer.execute("PRAGMA user_version = 99")
    archive.close()
    with pytest.raises(RetrievalError, match="newer Jurat"):
        Archive(tmp_path, SETTINGS)


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from gateway.responses.archive import Archive
    from gateway.settings import ResponsesSection
    from tests.unit.gateway.test_archive import response, said
    from gateway.schema.responses import ConversationRef

    async def main():
        archive = Archive(Path(sys.argv[1]), ResponsesSection())
        talk = await archive.create_conversation("a", {}, [])
        begun = response("begun", status="in_progress", output=[], background=True)
        await archive.put("a", begun, [said("x")])
        number = 0
        while True:
            done = response(f"r{number}", conversation=ConversationRef(id=talk.id))
            await archive.put("a", done, [said("question")], talk.id)
            number += 1
            print(talk.id, number, flush=True)

    asyncio.run(main())
"""


def killed(folder: Path) -> tuple[str, int]:
    """The conversation that a process was adding turns to, and how many it says are kept."""
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(KILLED), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    told: list[str] = []
    for line in process.stdout:
        told.append(line)
        if len(told) == 5:
            process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    talk, count = told[-1].split()
    return talk, int(count)


async def test_a_killed_process_leaves_whole_turns_and_no_unfinished_response(
    tmp_path: Path,
) -> None:
    talk, told = killed(tmp_path)
    archive = Archive(tmp_path, ResponsesSection())
    try:
        begun = await archive.response("a", "begun")
        assert (begun.status, begun.error is not None) == ("failed", True)
        items = await archive.said("a", talk, [])
        assert len(items) in (2 * told, 2 * told + 2)
        roles = [getattr(item, "role", "") for item in items]
        assert roles == ["user", "assistant"] * (len(items) // 2)
        for number in range(told):
            assert (await archive.response("a", f"r{number}")).status == "completed"
    finally:
        archive.close()


async def test_turns_are_taken_in_the_order_of_arrival() -> None:
    order, seen = OneAtATime(), list[int]()
    gate = asyncio.Event()

    async def one(number: int) -> None:
        async with order.turn("owner", "talk"):
            await gate.wait()
            seen.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert seen == [0, 2, 3]
    assert order._locks == {}


async def test_the_greatest_that_fits() -> None:
    asked: list[int] = []

    def up_to(limit: int) -> Callable[[int], object]:
        async def fits(count: int) -> bool:
            asked.append(count)
            return count <= limit

        return fits

    for most in range(12):
        for limit in range(14):
            assert await greatest(most, up_to(limit)) == min(most, limit)  # type: ignore[arg-type]
    asked.clear()
    await greatest(1000, up_to(333))  # type: ignore[arg-type]
    assert len(asked) < 12


def test_the_oldest_turns_go_first() -> None:
    items = [said("s", "system"), said("1"), said("a", "assistant"), said("2"), said("3")]
    assert turns_of(items) == [1, 3]
    assert without_first(items, 1) == [items[0], items[3], items[4]]
    assert without_first(items, 2) == [items[0], items[4]]
    assert without_first(items, 0) == without_first(items, 3) == items
