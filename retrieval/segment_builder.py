"""The process that builds one segment of a vector index: `python -m retrieval.segment_builder`.

A process of its own, so that a search never waits for the interpreter, and that a fault in the
graph's code ends nothing else. It ends when its standard input does, which is its parent's.
"""

import os
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np

from retrieval.durable import replace_durably
from retrieval.index_source import IndexSource
from retrieval.segments import Build, BuiltSegment, checksum
from retrieval.vector_index import write_graph

__all__ = ["arguments", "main"]

_NICE = 10  # questions go before


def arguments(database: Path, store_id: str, dimension: int, build: Build) -> list[str]:
    """The command line."""
    return [
        sys.executable,
        *("-m", "retrieval.segment_builder"),
        *(str(database), store_id, str(dimension)),
        *(str(build.file), str(build.above), str(build.up_to)),
    ]


def main() -> None:
    """Writes the file, and then what is in it, as JSON, to standard output."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_NICE)
    database, store_id, dimension, file, above, up_to = sys.argv[1:]
    build = Build(Path(file), int(above), int(up_to))
    built = _build(IndexSource(Path(database)), store_id, int(dimension), build)
    sys.stdout.buffer.write(msgspec.json.encode(built))
    sys.stdout.flush()


def _build(source: IndexSource, store_id: str, dimension: int, build: Build) -> BuiltSegment:
    chunks = 0

    def batches():
        nonlocal chunks
        last = -1  # a chunk's parts may lie in two batches
        for ids, vectors in source.vectors(store_id, build.above, build.up_to, dimension):
            chunks += len(np.unique(ids)) - int(len(ids) > 0 and ids[0] == last)
            last = int(ids[-1]) if len(ids) else last
            yield ids, vectors

    draft = build.file.with_suffix(".usearch.new")
    rows = write_graph(draft, dimension, batches())
    found = checksum(draft)
    replace_durably(draft, build.file)
    stat = build.file.stat()
    return BuiltSegment(
        file=build.file.name,
        above=build.above,
        up_to=build.up_to,
        rows=rows,
        chunks=chunks,
        bytes=stat.st_size,
        written_ns=stat.st_mtime_ns,
        checksum=found,
    )


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
