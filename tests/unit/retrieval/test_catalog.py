"""Files that wait, fail, are cancelled, replaced and expire; owners that take turns."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import NotFound, QuotaExceeded, StoreExpired, StoreNotFound
from retrieval.filters import Comparison
from retrieval.library import Library
from retrieval.store_files import Attached
from retrieval.types import Chunking, Cursor
from retrieval.vector_stores import StoreChange
from tests.unit.retrieval.collection import Clock
from tests.unit.retrieval.fakes import BagEmbedder

DAY_S = 86_400


class Away(Exception):
    pass


class HeldEmbedder(BagEmbedder):
    """Embeds documents when `open` is set; `asked` is set when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.failures: list[Exception] = []

    async def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"]
    ) -> NDArray[np.float32]:
        if kind == "document":
            self.asked.set()
            await self.open.wait()
            if self.failures:
                raise self.failures.pop(0)
        return await super().embed(texts, kind)


@pytest.fixture
async def held() -> HeldEmbedder:
    return HeldEmbedder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def library(tmp_path: Path, held: HeldEmbedder, clock: Clock) -> AsyncIterator[Library]:
    library = Library.open(tmp_path / "data", held, away=(Away,), clock=clock)
    library.start()
    yield library
    await library.stop()
    library.close()


async def upload(library: Library, name: str, text: str, owner: str = "ann", **options: Any) -> str:
    with library.catalog.incoming() as content:
        content.write(text.encode())
        file = await library.catalog.create_file(owner, content, name, "assistants", **options)
    return file.id


async def make(library: Library, owner: str = "ann", **change: Any) -> str:
    return (await library.catalog.create_store(owner, StoreChange(**change))).id


async def texts(library: Library, store: str, owner: str = "ann") -> list[str]:
    hits = await library.search("lamp", owner=owner, stores=[store], limit=100)
    return sorted(hit.text for hit in hits)


async def status(library: Library, store: str, file: str) -> tuple[str, str | None]:
    record = await library.catalog.store_file("ann", store, file)
    return record.status, record.error_code


async def test_a_file_is_ingested_in_the_background(library: Library, held: HeldEmbedder) -> None:
    store, file = await make(library), await upload(library, "a.md", "The lamp is blue.")
    held.open.clear()
    record = await library.catalog.attach("ann", store, Attached(file_id=file))
    assert record.status == "in_progress"
    await held.asked.wait()
    assert (await library.catalog.store("ann", store)).counts.in_progress == 1
    assert await texts(library, store) == []
    held.open.set()
    await library.settled()
    assert await status(library, store, file) == ("completed", None)
    assert await texts(library, store) == ["The lamp is blue."]


async def test_what_waits_is_ingested_by_the_next_process(
    tmp_path: Path, held: HeldEmbedder
) -> None:
    first = Library.open(tmp_path / "data", held)
    store, file = await make(first), await upload(first, "a.md", "The lamp is blue.")
    await first.catalog.attach("ann", store, Attached(file_id=file))
    held.open.clear()
    first.start()
    await held.asked.wait()
    await first.stop()
    first.close()
    held.open.set()
    second = Library.open(tmp_path / "data", held)
    assert await status(second, store, file) == ("in_progress", None)
    second.start()
    await second.settled()
    assert await texts(second, store) == ["The lamp is blue."]
    await second.stop()
    second.close()


@pytest.mark.parametrize("gone", ["store", "file", "entry"])
async def test_what_is_deleted_while_it_is_ingested_does_not_come_back(
    library: Library, held: HeldEmbedder, gone: str
) -> None:
    store, file = await make(library), await upload(library, "a.md", "The lamp is blue.")
    held.open.clear()
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await held.asked.wait()
    match gone:
        case "store":
            await library.catalog.delete_store("ann", store)
        case "file":
            await library.catalog.delete_file("ann", file)
        case _:
            await library.catalog.detach("ann", store, file)
    await library.settled()  # what was begun is broken off: the embedder is still held
    held.open.set()
    if gone == "store":
        with pytest.raises(StoreNotFound):
            await texts(library, store)
    else:
        assert await texts(library, store) == []
        with pytest.raises(NotFound):
            await status(library, store, file)


async def test_a_file_put_in_again_is_replaced_when_it_is_done(
    library: Library, held: HeldEmbedder
) -> None:
    text = "\n\n".join(f"The lamp {n} is one of many things." for n in range(20))
    store, file = await make(library), await upload(library, "a.md", text)
    await library.catalog.attach("ann", store, Attached(file_id=file, attributes={"n": 1}))
    await library.settled()
    before = await texts(library, store)
    held.open.clear()
    held.asked.clear()
    chunking = Chunking(chunk_tokens=100, overlap_tokens=0)
    again = Attached(file_id=file, attributes={"n": 2}, chunking=chunking)
    assert (await library.catalog.attach("ann", store, again)).status == "in_progress"
    await held.asked.wait()
    assert await texts(library, store) == before
    held.open.set()
    await library.settled()
    after = await texts(library, store)
    assert len(after) > len(before)
    record = await library.catalog.store_file("ann", store, file)
    assert (record.chunking, record.attributes) == (chunking, {"n": 2})
    found = await library.search(
        "lamp", owner="ann", stores=[store], filters=Comparison("eq", "n", (2,)), limit=100
    )
    assert len(found) == len(after)


async def test_a_file_put_in_again_while_it_is_ingested_is_ingested_as_asked_last(
    library: Library, held: HeldEmbedder
) -> None:
    text = "\n\n".join(f"The lamp {n} is one of many things." for n in range(40))
    store, file = await make(library), await upload(library, "a.md", text)
    held.open.clear()
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await held.asked.wait()
    chunking = Chunking(chunk_tokens=100, overlap_tokens=0)
    await library.catalog.attach("ann", store, Attached(file_id=file, chunking=chunking))
    held.open.set()
    await library.settled()
    assert all(len(text.split()) < 100 for text in await texts(library, store))


async def test_a_cancelled_batch(library: Library, held: HeldEmbedder) -> None:
    store = await make(library)
    files = [await upload(library, f"{n}.md", f"The lamp {n}.") for n in range(8)]
    await library.catalog.create_batch("ann", store, [Attached(file_id=files[0])])
    await library.settled()
    held.open.clear()
    held.asked.clear()
    batch = await library.catalog.create_batch("ann", store, [Attached(file_id=f) for f in files])
    assert (batch.status, batch.counts.in_progress) == ("in_progress", 8)
    await held.asked.wait()
    cancelled = await library.catalog.cancel_batch("ann", store, batch.id)
    assert (cancelled.status, cancelled.counts.cancelled) == ("cancelled", 8)
    held.open.set()
    await library.settled()
    assert await texts(library, store) == []
    page = await library.catalog.store_file_page("ann", store, Cursor(), batch_id=batch.id)
    assert {record.status for record in page.items} == {"cancelled"}


async def test_an_embedder_that_is_away_is_waited_for(library: Library, held: HeldEmbedder) -> None:
    store, file = await make(library), await upload(library, "a.md", "The lamp.")
    held.failures = [Away() for _ in range(4)]
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    assert await status(library, store, file) == ("completed", None)


async def test_a_file_that_the_embedder_fails_at_is_given_up(
    library: Library, held: HeldEmbedder
) -> None:
    store, file = await make(library), await upload(library, "a.md", "The lamp.")
    held.failures = [OSError("broken") for _ in range(3)]
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    assert await status(library, store, file) == ("failed", "server_error")
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    assert await status(library, store, file) == ("completed", None)


async def test_only_the_file_to_blame_is_given_up(
    library: Library, held: HeldEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = BagEmbedder.embed
    crashes = 0

    async def crash(self: BagEmbedder, texts: Sequence[str], kind: Any) -> NDArray[np.float32]:
        """All that is being embedded fails with the bad one."""
        nonlocal crashes
        if any("bad" in text for text in texts):
            crashes += 1
            raise OSError("crashed")
        before = crashes
        await asyncio.to_thread(time.sleep, 0.01)  # as an embedder takes its time
        if crashes > before:
            raise OSError("crashed")
        return await embed(self, texts, kind)

    monkeypatch.setattr(BagEmbedder, "embed", crash)
    store = await make(library)
    names = ["good1", "bad", "good2", "good3"]
    files = {name: await upload(library, f"{name}.md", f"A {name} lamp.") for name in names}
    given = [Attached(file_id=file) for file in files.values()]
    await library.catalog.create_batch("ann", store, given)
    await library.settled()
    outcomes = {name: (await status(library, store, file))[0] for name, file in files.items()}
    assert outcomes == dict.fromkeys(names, "completed") | {"bad": "failed"}


async def test_a_private_store_ends_when_nobody_uses_it(library: Library, clock: Clock) -> None:
    store = await make(library, expires_days=1)
    file = await upload(library, "a.md", "The lamp is blue.")
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    for _ in range(3):  # every search puts it off
        clock.seconds += DAY_S - 100
        assert await texts(library, store) == ["The lamp is blue."]
    clock.seconds += DAY_S + 100
    with pytest.raises(StoreExpired, match="has expired"):
        await texts(library, store)
    with pytest.raises(StoreNotFound, match="does not exist"):  # it was never another's
        await library.search("lamp", owner="bob", stores=[store])
    record = await library.catalog.store("ann", store)
    assert (record.expired, record.counts.total, record.usage_bytes) == (True, 0, 0)
    assert await library.stores("ann") == []
    with pytest.raises(StoreExpired):
        await library.catalog.attach("ann", store, Attached(file_id=file))
    assert library._database.query("SELECT * FROM chunks") == []
    assert (await library.catalog.file("ann", file)).filename == "a.md"
    clock.seconds += 31 * DAY_S
    with pytest.raises(StoreNotFound):
        await library.catalog.store("ann", store)


async def test_a_file_ends_when_it_was_said_to(
    library: Library, clock: Clock, tmp_path: Path
) -> None:
    store = await make(library)
    file = await upload(library, "a.md", "The lamp is blue.", expires_s=3600)
    await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    clock.seconds += 3599
    assert await texts(library, store) == ["The lamp is blue."]
    clock.seconds += 1
    assert await texts(library, store) == []
    with pytest.raises(NotFound):
        await library.catalog.file("ann", file)
    assert [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()] == []


async def test_an_upload_ends_after_an_hour(library: Library, clock: Clock, tmp_path: Path) -> None:
    upload = await library.catalog.create_upload("ann", "a.md", "assistants", 4, "text/plain")
    with library.catalog.incoming() as content:
        content.write(b"ab")
        await library.catalog.add_part("ann", upload.id, content)
    clock.seconds += 3601
    with pytest.raises(ValueError, match="expired already"):
        await library.catalog.complete_upload("ann", upload.id, [])
    assert [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()] == []


async def test_a_quota_counts_what_is_there_and_what_waits(
    library: Library, held: HeldEmbedder
) -> None:
    store = await make(library, quota_bytes=20)
    held.open.clear()
    files = [await upload(library, f"{n}.md", "x" * 9) for n in range(3)]
    given = [Attached(file_id=file) for file in files]
    with pytest.raises(QuotaExceeded, match="27 bytes"):
        await library.catalog.create_batch("ann", store, given)
    assert (await library.catalog.store("ann", store)).counts.total == 0
    await library.catalog.create_batch("ann", store, given[:2])
    with pytest.raises(QuotaExceeded):
        await library.catalog.attach("ann", store, given[2])
    held.open.set()
    await library.settled()
    await library.catalog.detach("ann", store, files[0])
    assert (await library.catalog.attach("ann", store, given[2])).status == "in_progress"


async def test_one_file_in_two_stores(library: Library) -> None:
    file = await upload(library, "a.md", "The lamp is blue.")
    stores = [await make(library) for _ in range(2)]
    for store in stores:
        await library.catalog.attach("ann", store, Attached(file_id=file))
    await library.settled()
    hits = await library.search("lamp", owner="ann", stores=stores)
    assert len(hits) == 1  # they say the same
    await library.catalog.delete_file("ann", file)
    for store in stores:
        assert await texts(library, store) == []


async def test_calls_side_by_side_keep_one_content(library: Library, tmp_path: Path) -> None:
    async def once() -> None:
        file = await upload(library, "a.md", "The same.")
        assert (await library.catalog.file_content("ann", file)).path.read_bytes() == b"The same."
        await library.catalog.delete_file("ann", file)

    await asyncio.gather(*(once() for _ in range(30)))
    assert [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()] == []
