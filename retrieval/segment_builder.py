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

from retrieval.index_source import IndexSource
from retrieval.segment import BuiltSegment
from retrieval.segment_rows import SegmentRows, write_rows
from retrieval.segments import Build
from retrieval.vector_index import write_graph
from retrieval.written_file import finish

__all__ = ["NICE", "arguments", "build_segment", "end_with_parent", "main"]

NICE = 10  # questions go before


def arguments(
    database: Path, store_id: str, dimension: int, build: Build, threads: int
) -> list[str]:
    """The command line."""
    return [
        sys.executable,
        *("-m", "retrieval.segment_builder"),
        *(str(database), store_id, str(dimension), str(threads)),
        *(str(build.stem), str(build.above), str(build.up_to)),
    ]


def main() -> None:
    """Writes the files, and then what is in them, as JSON, to standard output."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.nice(NICE)
    database, store_id, dimension, threads, stem, above, up_to = sys.argv[1:]
    build = Build(Path(stem), int(above), int(up_to))
    built = build_segment(
        IndexSource(Path(database)), store_id, int(dimension), build, int(threads)
    )
    sys.stdout.buffer.write(msgspec.json.encode(built))
    sys.stdout.flush()


def build_segment(
    source: IndexSource, store_id: str, dimension: int, build: Build, threads: int
) -> BuiltSegment:
    """Writes the files of `build`, whose directory must exist, in this process."""
    vectors = build.stem.with_suffix(".vectors")
    draft = vectors.with_suffix(".vectors.new")
    ids = write_rows(
        draft, dimension, source.vectors(store_id, build.above, build.up_to, dimension)
    )
    written = finish(draft, vectors)
    graph = build.stem.with_suffix(".usearch")
    draft = graph.with_suffix(".usearch.new")
    rows = SegmentRows(vectors, dimension, len(ids))
    expansion = write_graph(draft, dimension, rows, threads)
    return BuiltSegment(
        above=build.above,
        up_to=build.up_to,
        rows=len(ids),
        chunks=len(np.unique(ids)),
        expansion=expansion,
        graph=finish(draft, graph),
        vectors=written,
    )


def end_with_parent() -> None:
    """Ends this process when its standard input ends."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
