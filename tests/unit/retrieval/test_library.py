import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import (
    EmbedderMismatch,
    InvalidRequest,
    NotFound,
    ReindexRuns,
    RetrievalError,
    StoreLocked,
    StoreNotFound,
)
from retrieval.fuse import Weights
from retrieval.library import Library
from retrieval.reindex import Reindexed, Reindexing
from retrieval.settings import RetrievalSettings
from tests.unit.retrieval.conftest import Opener
from tests.unit.retrieval.fakes import BagEmbedder, UnreadyEmbedder

PRINTER = ("printer.md", b"# Printers\n\nA paper jam shows the code P-108.\n")
ROUTER = ("router.md", b"# Routers\n\nHold the reset button for ten seconds.\n")


async def filled(library: Library, *files: tuple[str, bytes], owner: str = "ann") -> str:
    store = await library.ensure_store("docs", owner)
    report = await library.ingest(store.id, owner, files or (PRINTER, ROUTER))
    assert not report.failed
    return store.id


async def test_finds_the_passage_with_its_place(library: Library) -> None:
    store_id = await filled(library)
    hits = await library.search("paper jam code", owner="ann", stores=["docs"])
    assert [hit.filename for hit in hits] == ["printer.md", "router.md"]
    hit = hits[0]
    assert (hit.document_id, hit.heading, hit.page) == ("printer", "Printers", None)
    assert hit.store_id == store_id
    assert hit.text == PRINTER[1].decode()[hit.start : hit.end]
    assert hits[0].score > hits[1].score
    assert -1 <= hits[1].score <= hits[0].score <= 1


@pytest.mark.parametrize(
    ("name", "text", "query"),
    [
        ("دليل.txt", "\u202bاضغط على زر إعادة التعيين لمدة عشر ثوانٍ.\u202c", "زر التعيين"),
        ("מדריך.txt", "לחץ על כפתור האיפוס במשך עשר שניות (10).", "כפתור האיפוס"),
    ],
)
async def test_text_from_right_to_left(library: Library, name: str, text: str, query: str) -> None:
    await filled(library, (name, text.encode()), PRINTER)
    for hybrid in (None, Weights(embedding=0, text=1)):
        hit, *_ = await library.search(query, owner="ann", stores=["docs"], hybrid=hybrid)
        assert (hit.filename, hit.text) == (name, text)


async def test_nothing_is_asked_of_the_embedder_to_open(open_library: Opener) -> None:
    library = open_library(UnreadyEmbedder())
    store = await library.ensure_store("docs", "ann")
    assert await library.stores("ann") == [store]


async def test_what_is_ingested_is_there_after_reopening(open_library: Opener) -> None:
    first = open_library()
    await filled(first)
    before = await first.search("reset button", owner="ann", stores=["docs"])
    first.close()
    second = open_library()
    assert await second.search("reset button", owner="ann", stores=["docs"]) == before


async def test_unchanged_is_skipped_and_changed_is_replaced(
    library: Library, embedder: BagEmbedder
) -> None:
    store_id = await filled(library)
    assert len(await library.search("reset", owner="ann", stores=["docs"])) == 2
    embedder.embedded.clear()
    report = await library.ingest(store_id, "ann", [PRINTER, ROUTER])
    assert report.unchanged == ("printer.md", "router.md")
    assert embedder.embedded == []
    report = await library.ingest(store_id, "ann", [PRINTER, ("router.md", b"Turn it off.")])
    assert (report.added, report.unchanged) == (("router.md",), ("printer.md",))
    texts = [hit.text for hit in await library.search("reset", owner="ann", stores=["docs"])]
    assert sorted(texts) == ["# Printers\n\nA paper jam shows the code P-108.", "Turn it off."]
    assert [file.filename for file in await library.files(store_id, "ann")] == [
        "printer.md",
        "router.md",
    ]


async def test_a_refused_file_does_not_stop_the_rest(library: Library, tmp_path: Path) -> None:
    store = await library.ensure_store("docs", "ann")
    (tmp_path / "a").mkdir()
    for name, content in {"a/x.md": "Text.", "a/.hidden.md": "No.", "a/empty.md": ""}.items():
        (tmp_path / name).write_text(content)
    seen: list[tuple[str, int, int]] = []
    report = await library.ingest(
        store.id,
        "ann",
        [tmp_path / "a", tmp_path / "missing.md", ("b.bin", b"\0\1\2"), ("../x.md", b"Same name.")],
        lambda *step: seen.append(step),
    )
    assert report.added == ("x.md",)
    reasons = dict(report.failed)
    assert reasons["empty.md"] == "empty.md: the file is empty"
    assert "does not exist" in reasons["missing.md"]
    assert "binary" in reasons["b.bin"]
    assert "same request" in reasons["x.md"]
    assert sorted(step[1] for step in seen) == [1, 2, 3, 4, 5]
    assert {step[2] for step in seen} == {5}


async def test_files_of_one_name_in_two_folders_are_two(library: Library, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / "docs" / folder).mkdir(parents=True)
        (tmp_path / "docs" / folder / "readme.md").write_text(f"This is {folder}.")
    store = await library.ensure_store("docs", "ann")
    report = await library.ingest(store.id, "ann", [tmp_path / "docs"])
    assert report.added == ("one/readme.md", "two/readme.md")


async def test_size_limit(open_library: Opener, tmp_path: Path) -> None:
    library = open_library(settings=RetrievalSettings(max_file_bytes=10))
    store = await library.ensure_store("docs", "ann")
    (tmp_path / "long.md").write_text("eleven char")
    report = await library.ingest(store.id, "ann", [tmp_path / "long.md", ("b.md", b"x" * 11)])
    assert [name for name, why in report.failed if "at most 10" in why] == ["long.md", "b.md"]


async def test_what_the_embedder_raises_comes_through_and_can_be_resumed(
    library: Library, embedder: BagEmbedder
) -> None:
    class Down(Exception):
        pass

    async def fail(texts: object, kind: object) -> None:
        raise Down

    store = await library.ensure_store("docs", "ann")
    embedder.embed, works = fail, embedder.embed
    with pytest.raises(Down):
        await library.ingest(store.id, "ann", [PRINTER, ROUTER])
    assert (await library.stores("ann"))[0].file_count == 0
    embedder.embed = works
    assert len((await library.ingest(store.id, "ann", [PRINTER, ROUTER])).added) == 2


@pytest.mark.parametrize("vectors", [np.zeros((1, 3)), np.full((1, 64), np.nan)])
async def test_unusable_vectors_are_never_stored(
    library: Library, embedder: BagEmbedder, vectors: np.ndarray
) -> None:
    async def wrong(texts: object, kind: object) -> np.ndarray:
        return vectors

    embedder.embed = wrong
    store = await library.ensure_store("docs", "ann")
    report = await library.ingest(store.id, "ann", [PRINTER])
    assert "bag@1 returned" in report.failed[0][1]
    assert (await library.stores("ann"))[0].chunk_count == 0


async def test_deleted_passages_do_not_come_back(open_library: Opener) -> None:
    library = open_library()
    store_id = await filled(library)
    await library.search("jam", owner="ann", stores=["docs"])
    file = (await library.files(store_id, "ann"))[0]
    await library.delete_file(store_id, file.id, "ann")
    assert len(await library.search("jam", owner="ann", stores=["docs"])) == 1
    with pytest.raises(NotFound, match="does not exist"):
        await library.delete_file(store_id, file.id, "ann")
    await library.delete_store(store_id, "ann")
    with pytest.raises(StoreNotFound):
        await library.search("jam", owner="ann", stores=["docs"])
    store_id = await filled(library)
    assert len(await library.search("jam", owner="ann", stores=[store_id])) == 2


async def test_same_words_are_returned_once_and_the_limit_is_still_filled(library: Library) -> None:
    copies = [(f"copy{n:02}.txt", b"The  same\nwords.") for n in range(60)]
    others = [(f"other{n}.txt", f"Other words {n}.".encode()) for n in range(5)]
    await filled(library, *copies, *others)
    hits = await library.search("the same words", owner="ann", stores=["docs"], limit=4)
    assert len(hits) == 4
    assert hits[0].filename == "copy00.txt"
    assert all(hit.filename.startswith("other") for hit in hits[1:])


async def test_equal_scores_are_in_a_fixed_order(library: Library) -> None:
    files = [(f"{name}.txt", f"{name} {name} apple".encode()) for name in "dbca"]
    await filled(library, *files)
    hits = await library.search("apple", owner="ann", stores=["docs"])
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    keys = [(-hit.score, hit.document_id) for hit in hits]
    assert keys == sorted(keys)


async def test_floor_limit_and_several_queries(library: Library) -> None:
    await filled(library)
    both = ["paper jam", "reset button"]
    hits = await library.search(both, owner="ann", stores=["docs", "docs"])
    single = [(await library.search(q, owner="ann", stores=["docs"], limit=1))[0] for q in both]
    assert sorted(hits, key=lambda h: h.filename) == sorted(single, key=lambda h: h.filename)
    assert await library.search("jam", owner="ann", stores=["docs"], score_floor=0.999) == []
    assert await library.search("jam", owner="ann", stores=[]) == []
    assert len(await library.search("jam", owner="ann", stores=["docs"], limit=1000)) == 2


async def test_an_empty_store_has_no_passages(library: Library) -> None:
    await library.ensure_store("docs", "ann")
    assert await library.search("jam", owner="ann", stores=["docs"]) == []


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"query": " \n"}, "query"),
        ({"query": []}, "query"),
        ({"query": ["a", ""]}, "query"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"score_floor": float("nan")}, "score_floor"),
    ],
)
async def test_unusable_arguments_are_named(
    library: Library, arguments: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidRequest, match=param) as caught:
        await library.search(**{"query": "a", "owner": "ann", "stores": [], **arguments})
    assert caught.value.param == param
    assert isinstance(caught.value, ValueError)


async def test_lone_surrogates_are_no_error(library: Library) -> None:
    await filled(library)
    assert await library.search("jam \ud800", owner="ann", stores=["docs"])
    with pytest.raises(StoreNotFound):
        await library.search("jam", owner="ann", stores=["\ud800"])
    with pytest.raises(InvalidRequest, match="name"):
        await library.ensure_store("\ud800", "ann")


async def test_another_embedder_is_refused_until_all_is_embedded_anew(open_library: Opener) -> None:
    first = open_library()
    store_id = await filled(first)
    first.close()
    other = BagEmbedder("bag@2", dimension=32, max_tokens=64)
    library = open_library(other)
    for call in (
        library.search("jam", owner="ann", stores=["docs"]),
        library.ingest(store_id, "ann", [PRINTER]),
    ):
        with pytest.raises(EmbedderMismatch, match=r"bag@1 \(64 dimensions\).*bag@2 \(32"):
            await call
    async with aclosing(library.reindex()) as steps:
        assert await anext(steps) == Reindexing(step="embedding", done=1, total=2)
        with pytest.raises(ReindexRuns):
            await anext(library.reindex())
        with pytest.raises(EmbedderMismatch, match=r"^1 file was .* It is being embedded anew"):
            await library.search("jam", owner="ann", stores=["docs"])
    with pytest.raises(EmbedderMismatch, match=r"^1 file was .* Run `jurat reindex`"):
        await library.search("jam", owner="ann", stores=["docs"])
    *_, done = [step async for step in library.reindex()]
    assert done == Reindexed(embedded=1, stores=1, queued=0)
    hits = await library.search("paper jam", owner="ann", stores=["docs"])
    assert [hit.filename for hit in hits] == ["printer.md", "router.md"]
    assert (await library.ingest(store_id, "ann", [PRINTER])).unchanged == ("printer.md",)


async def test_same_identity_of_another_dimension_is_refused(open_library: Opener) -> None:
    first = open_library()
    await filled(first)
    first.close()
    with pytest.raises(EmbedderMismatch):
        await open_library(BagEmbedder(dimension=32)).search("a", owner="ann", stores=["docs"])


def test_one_process_at_a_time(open_library: Opener, tmp_path: Path) -> None:
    library = open_library()
    with pytest.raises(StoreLocked, match=r"data is in use.*process id \d+.*stop it"):
        open_library()
    script = (
        "import sys; from pathlib import Path; from retrieval.lock import DirectoryLock\n"
        "DirectoryLock(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StoreLocked" in run.stderr
    library.close()
    library.close()
    assert subprocess.run(command, check=False).returncode == 0
    open_library()


def test_a_file_that_is_no_database_is_said_to_be_none(
    open_library: Opener, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "retrieval.sqlite3").write_bytes(b"not a database, " * 100)
    with pytest.raises(RetrievalError, match="cannot be opened as a database"):
        open_library()
    (tmp_path / "data" / "retrieval.sqlite3").unlink()
    open_library()  # the lock was given back


async def test_seeds_once(open_library: Opener, tmp_path: Path, embedder: BagEmbedder) -> None:
    folder = tmp_path / "handbook"
    folder.mkdir()
    for name, content in (PRINTER, ROUTER):
        (folder / name).write_bytes(content)
    library = open_library()
    report = await library.seed("handbook", [folder], "local", ["*"])
    assert len(report.added) == 2
    assert len(await library.search("jam", owner="ann", stores=["handbook"])) == 2
    (store,) = await library.stores("local")
    await library.delete_file(store.id, (await library.files(store.id, "local"))[0].id, "local")
    library.close()
    library = open_library()
    assert await library.seed("handbook", [folder], "local", ["bob"]) == type(report)()
    (store,) = await library.stores("local")
    assert (store.file_count, store.readers) == (1, ("bob",))
    await library.delete_store(store.id, "local")
    await library.seed("handbook", [folder], "local")
    assert await library.stores("local") == []


async def test_a_broken_off_seed_goes_on(
    library: Library, tmp_path: Path, embedder: BagEmbedder
) -> None:
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "a.md").write_bytes(PRINTER[1])
    (tmp_path / "h" / "b.md").write_bytes(b"\0")
    assert len((await library.seed("h", [tmp_path / "h"], "ann")).failed) == 1
    (tmp_path / "h" / "b.md").write_bytes(ROUTER[1])
    report = await library.seed("h", [tmp_path / "h"], "ann")
    assert (report.added, report.unchanged) == (("b.md",), ("a.md",))
    assert (await library.seed("h", [tmp_path / "h"], "ann")).unchanged == ()


async def test_searches_and_ingests_side_by_side_agree_in_the_end(library: Library) -> None:
    store_id = await filled(library)
    texts = [(f"f{n}.txt", f"Unique{n} words about jam.".encode()) for n in range(40)]

    async def look() -> None:
        for _ in range(20):
            await library.search("jam", owner="ann", stores=["docs"], limit=5)

    await asyncio.gather(
        look(), look(), *(library.ingest(store_id, "ann", texts[n::4]) for n in range(4))
    )
    assert len(await library.search("jam", owner="ann", stores=["docs"], limit=100)) == 42


async def test_likeness_of_texts_to_a_query(library: Library) -> None:
    same, other = await library.likeness("paper jam", ["a jam of paper", "green lamp"], owner="ann")
    assert other < same <= 1.001
    assert await library.likeness("paper jam", [], owner="ann") == []
