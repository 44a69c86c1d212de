"""SIGKILL at any moment: what was reported done is there, nothing is half there."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from retrieval.library import Library
from tests.unit.retrieval.conftest import Opener
from tests.unit.retrieval.fakes import BagEmbedder

# `make test-soak` has ten times as many.
KILLS = int(os.environ.get("JURAT_TEST_KILLS", "5"))
SCRIPT = "tests.unit.retrieval.ingest_forever"


class Reported:
    """What the killed processes said that they had done."""

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}  # of files that were not deleted
        self.completed: dict[str, tuple[str, str]] = {}
        self.attached: dict[str, tuple[str, str]] = {}
        self.deleted: set[str] = set()

    def add(self, line: str) -> None:
        word, owner, file_id, about = json.loads(line)
        match word:
            case "created":
                self.contents[file_id] = about
            case "attached":
                self.attached[file_id] = owner, about
            case "completed":
                self.completed[file_id] = owner, about
            case _:
                self.deleted.add(file_id)


def run_until_killed(folder: Path, seed: int, lines: int, reported: Reported) -> None:
    """Kills after so many reports; what it does at that moment is left to chance."""
    command = [sys.executable, "-m", SCRIPT, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            reported.add(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # said before it died
            if line.endswith("\n"):
                reported.add(line)
        assert process.wait() == -signal.SIGKILL


def check_tables(folder: Path) -> None:
    connection = sqlite3.connect(folder / "retrieval.sqlite3")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        half = """SELECT * FROM (SELECT sf.*, (SELECT COUNT(*) FROM chunks c
            WHERE c.store_file = sf.seq) AS there, (SELECT COUNT(*) FROM chunks c
            JOIN embeddings e ON e.chunk_id = c.id WHERE c.store_file = sf.seq) AS vectors
            FROM store_files sf) WHERE there != chunk_count OR vectors != there
            OR (status = 'completed') != (there > 0)"""
        assert connection.execute(half).fetchall() == []
    finally:
        connection.close()


def may_go(name: str) -> bool:
    """Whether the file of that name is one of those that are deleted again."""
    return int(name.removesuffix(".md").rpartition("-")[2]) % 5 == 4


def check_contents(folder: Path, reported: Reported) -> None:
    kept = {path.name for path in (folder / "files").rglob("*") if path.is_file()}
    connection = sqlite3.connect(folder / "retrieval.sqlite3")
    try:
        rows = connection.execute("SELECT id, sha256 FROM files").fetchall()
    finally:
        connection.close()
    assert kept == {sha256 for _, sha256 in rows}  # nothing is left that no file has
    held = dict(rows)
    for file_id, sha256 in reported.contents.items():
        if file_id in reported.deleted:
            assert file_id not in held
        elif file_id in held:
            assert held[file_id] == sha256
        else:  # killed before its deletion could be said
            assert may_go(reported.attached[file_id][1])


async def check_searches(library: Library, reported: Reported) -> None:
    for file_id, (owner, name) in reported.completed.items():
        hits = await library.search(
            f"Passage 3 of {name} here", owner=owner, stores=["docs"], limit=1000
        )
        count = len([hit for hit in hits if hit.file_id == file_id])
        assert count == 0 if file_id in reported.deleted else count == 20 or may_go(name)
        assert all(hit.filename.startswith(owner) for hit in hits)


async def test_killed_again_and_again(tmp_path: Path, open_library: Opener) -> None:
    folder = tmp_path / "data"
    chance = random.Random(20)
    reported = Reported()
    for seed in range(KILLS):
        run_until_killed(folder, seed, chance.randint(1, 20), reported)
        check_tables(folder)
        Library.open(folder, BagEmbedder()).close()  # the lock went with the process
        check_contents(folder, reported)
    assert reported.completed
    library = open_library()
    await check_searches(library, reported)
    library.start()  # what was reported as waiting is ingested now
    await library.settled()
    for owner in ("ann", "bob"):
        (store,) = await library.stores(owner)
        assert store.counts.in_progress == 0
        files = {file.id: file for file in await library.files(store.id, owner)}
        for file_id, (whose, _) in reported.attached.items():
            if whose == owner and file_id in files:
                assert files[file_id].status == "completed"
                assert files[file_id].chunk_count == 20
    await library.stop()
    check_tables(folder)
