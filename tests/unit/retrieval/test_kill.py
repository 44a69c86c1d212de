"""SIGKILL at chosen moments of an ingest: what was reported is there, nothing is half there."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.retrieval.conftest import Opener

# Prints the name of the moment and waits to be killed there.
SCRIPT = """
import asyncio, sys
from pathlib import Path
from retrieval.library import Library
from retrieval.store import Store
from tests.unit.retrieval.fakes import BagEmbedder

folder, moment = Path(sys.argv[1]), sys.argv[2]

def wait():
    print(moment, flush=True)
    sys.stdin.read()

class Embedder(BagEmbedder):
    async def embed(self, texts, kind):
        if moment == "embedding" and any("second" in text for text in texts):
            wait()
        return await super().embed(texts, kind)

insert = Store._insert_chunks

def interrupted(self, file_id, chunks):
    chunks = list(chunks)
    if not any("second" in chunk.text for chunk, _ in chunks):
        return insert(self, file_id, chunks)
    half = len(chunks) // 2
    added = insert(self, file_id, chunks[:half])
    if moment == "transaction":
        wait()
    return added + insert(self, file_id, chunks[half:])

Store._insert_chunks = interrupted

async def main():
    library = Library.open(folder, Embedder())
    store = await library.ensure_store("docs", "ann")
    text = "\\n\\n".join(f"# H{n}\\n\\nThe PLACE text {n}." for n in range(40))
    first = text.replace("PLACE", "first").encode()
    second = text.replace("PLACE", "second").encode()
    await library.ingest(store.id, "ann", [("first.md", first), ("changed.md", b"old text")])
    await library.ingest(store.id, "ann", [("changed.md", second)])
    wait()

asyncio.run(main())
"""


def run_until_killed(folder: Path, moment: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(folder), moment]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode().strip() == moment
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("moment", "chunks"), [("embedding", 41), ("transaction", 41), ("reported", 80)]
)
async def test_killed(moment: str, chunks: int, tmp_path: Path, open_library: Opener) -> None:
    folder = tmp_path / "data"
    run_until_killed(folder, moment)
    library = open_library()  # the lock went with the process
    (store,) = await library.stores("ann")
    assert (store.file_count, store.chunk_count) == (2, chunks)
    hits = await library.search("old second text", owner="ann", stores=["docs"], limit=100)
    changed = {hit.text for hit in hits if hit.filename == "changed.md"}
    assert ("old text" in changed) == (moment != "reported")
    assert len(changed) == (40 if moment == "reported" else 1)
    connection = sqlite3.connect(folder / "retrieval.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    (vectors,) = connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()
    connection.close()
    assert vectors == chunks
