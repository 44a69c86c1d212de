import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.doctor import embedders, examine, rebuild, repair
from retrieval.errors import RetrievalError, StoreLocked, StoreNotFound
from tests.unit.retrieval.conftest import Opener
from tests.unit.retrieval.test_indexes import spoiled
from tests.unit.retrieval.test_library import filled


async def written(open_library: Opener) -> None:
    library = open_library()
    await filled(library)
    await library.search("jam", owner="ann", stores=["docs"])
    library.close()


def change(path: Path, sql: str, *, cascade: bool = True) -> None:
    with sqlite3.connect(path / "retrieval.sqlite3") as connection:
        connection.execute(f"PRAGMA foreign_keys = {cascade}")
        connection.execute(sql)
    connection.close()


def words(path: Path) -> Path:
    return next((path / "indexes").glob("*/words/*.term"))


async def test_a_sound_directory(open_library: Opener, tmp_path: Path) -> None:
    await written(open_library)
    assert examine(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("spoil", "said", "mended"),
    [
        (lambda path: spoiled(words(path)), "changed", True),
        (lambda path: change(path, "DELETE FROM embeddings"), "lacks passages", True),
        (lambda path: change(path, "DELETE FROM chunks WHERE id = 1"), "lacks passages", True),
        (
            lambda path: change(path, "DELETE FROM chunks WHERE id = 1", cascade=False),
            "row 1 of embeddings belongs to a row of chunks that is not there",
            True,
        ),
        (
            lambda path: change(path, "DELETE FROM store_files WHERE seq = 1", cascade=False),
            "of chunks belongs to a row of store_files that is not there",
            True,
        ),
        (
            lambda path: next((path / "files").glob("??/*")).write_bytes(b"other"),
            "not what was uploaded",
            False,
        ),
        (lambda path: next((path / "files").glob("??/*")).unlink(), "No such file", False),
    ],
)
async def test_what_is_derived_is_mended_and_the_rest_named(
    open_library: Opener,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    said: str,
    mended: bool,
) -> None:
    await written(open_library)
    path = tmp_path / "data"
    spoil(path)
    problems = examine(path)
    assert any(said in problem.what for problem in problems)
    assert all((problem.cure is not None) == mended for problem in problems)
    repair(path)
    assert (examine(path) == []) == mended


async def test_a_damaged_database_is_said_in_words(open_library: Opener, tmp_path: Path) -> None:
    await written(open_library)
    path = tmp_path / "data"
    with (path / "retrieval.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8 * 4096)
    with pytest.raises(RetrievalError, match="malformed"):
        examine(path)


async def test_reindex(open_library: Opener, tmp_path: Path) -> None:
    await written(open_library)
    path = tmp_path / "data"
    spoiled(words(path))
    with pytest.raises(StoreNotFound, match="nothing"):
        rebuild(path, ["nothing"])
    assert rebuild(path, ["docs"]) == 1
    assert examine(path) == []
    library = open_library()
    hits = await library.search("P-108", owner="ann", stores=["docs"], limit=1)
    assert [hit.filename for hit in hits] == ["printer.md"]


async def test_a_directory_in_use_is_left_alone(open_library: Opener, tmp_path: Path) -> None:
    library = open_library()
    await filled(library)
    for act in (repair, rebuild, embedders):
        with pytest.raises(StoreLocked, match=rf"process id {os.getpid()}"):
            act(tmp_path / "data")


async def test_a_directory_in_use_can_be_looked_at(open_library: Opener, tmp_path: Path) -> None:
    library = open_library()
    await filled(library)
    await library.search("jam", owner="ann", stores=["docs"])
    before = {path for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert examine(tmp_path / "data") == []
    assert {path for path in (tmp_path / "data").rglob("*") if path.is_file()} == before
    next((tmp_path / "data" / "files").glob("??/*")).write_bytes(b"other")
    (problem,) = examine(tmp_path / "data")
    assert "not what was uploaded" in problem.what


def test_no_documents(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no documents"):
        examine(tmp_path)
