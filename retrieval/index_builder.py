"""The process that builds indexes of stores anew: `python -m retrieval.index_builder`.

A process of its own, as for a segment: a store's million vectors never are in the gateway's memory,
and what is to be broken off is ended. Each store that is done is a line of standard output.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from retrieval.index_source import IndexSource
from retrieval.indexes import VECTORS, StoreIndex
from retrieval.segment_builder import NICE, build_segment, end_with_parent
from retrieval.segments import TAIL_ROWS, Build, SegmentedVectors
from retrieval.store import EmbeddedBy

__all__ = ["arguments", "main"]


def arguments(
    database: Path, directory: Path, embedder: EmbeddedBy, store_ids: Sequence[str]
) -> list[str]:
    """The command line. Indexes are built in folders of `directory` by their stores' ids."""
    return [
        sys.executable,
        *("-m", "retrieval.index_builder"),
        *(str(database), str(directory), embedder.identity, str(embedder.dimension)),
        *store_ids,
    ]


def main() -> None:
    """Builds one after the other."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.nice(NICE)
    database, directory, identity, dimension, *store_ids = sys.argv[1:]
    source = IndexSource(Path(database))
    for store_id in store_ids:
        _build(Path(directory) / store_id, source, store_id, EmbeddedBy(identity, int(dimension)))
        sys.stdout.write(f"{store_id}\n")
        sys.stdout.flush()


def _build(path: Path, source: IndexSource, store_id: str, embedder: EmbeddedBy) -> None:
    newest = source.newest()
    if source.count(store_id, 0, newest) > TAIL_ROWS:  # else the tail would hold all of them
        stem = path / VECTORS / f"0-{newest}"
        stem.parent.mkdir(mode=0o700, parents=True)
        vectors = SegmentedVectors(stem.parent, source, store_id, *embedder)
        build = Build(stem, 0, newest)
        vectors.take(build_segment(source, store_id, embedder.dimension, build, threads=1))
    index = StoreIndex(path, source, store_id, embedder)
    index.refresh()
    index.close()


if __name__ == "__main__":
    main()
