"""Segments are built one at a time, each by a process of its own, which a thread waits for."""

import logging
import subprocess
import threading

import msgspec

from retrieval.background import Background
from retrieval.errors import IndexDamaged
from retrieval.index_source import IndexSource
from retrieval.segment import BuiltSegment
from retrieval.segment_builder import arguments
from retrieval.segments import Build, SegmentedVectors

__all__ = ["SegmentBuilding"]

log = logging.getLogger("jurat.retrieval")


class SegmentBuilding:
    """`ask` returns at once. A build that failed is logged, and not tried again as it was."""

    def __init__(self, source: IndexSource, threads: int = 1) -> None:
        """`threads` of a build: more than one take the cores that the models compute with."""
        self._source = source
        self._threads = threads
        self._vectors: dict[str, tuple[SegmentedVectors, int]] = {}
        self._failed: dict[str, Build] = {}
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._store = ""  # whose segment the process builds
        self._closing = False
        self._background = Background("segments", self._work)

    def ask(self, store_id: str, vectors: SegmentedVectors, dimension: int) -> None:
        """Builds what `vectors` wants, unless that is being done."""
        self._vectors[store_id] = vectors, dimension
        self._background.ask(store_id)

    def settle(self) -> None:
        """Waits until nothing is left to build."""
        self._background.settle()

    def drop(self, store_id: str) -> None:
        """Ends the process if it builds for a store whose vectors are closed.

        It would write into the directory of the index that comes after.
        """
        with self._starting:
            if self._process is not None and self._store == store_id:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Ends the process, if one builds, and the thread."""
        with self._starting:
            self._closing = True
            if self._process is not None:
                self._process.kill()
        self._background.close()

    def _work(self, store_id: str) -> None:
        vectors, dimension = self._vectors.pop(store_id, (None, 0))
        if vectors is None:  # asked for again just before it was begun
            return
        while (build := vectors.wanted()) is not None and build != self._failed.get(store_id):
            try:
                built = self._build(store_id, vectors, dimension, build)
                if built is None:
                    return
                vectors.take(built)
            except (IndexDamaged, msgspec.MsgspecError, OSError) as error:
                if vectors.closed:
                    return
                log.error("segment %s of store %s was not built: %s", build.stem, store_id, error)
                self._failed[store_id] = build

    def _build(
        self, store_id: str, vectors: SegmentedVectors, dimension: int, build: Build
    ) -> BuiltSegment | None:
        """None where it was broken off by `close`."""
        command = arguments(self._source.path, store_id, dimension, build, self._threads)
        with self._starting:
            if self._closing or vectors.closed:
                return None
            self._store = store_id
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        with self._process as process:
            assert process.stdout is not None
            said = process.stdout.read()  # its input stays open: it ends when that does
        with self._starting:
            self._process = None
            if self._closing:
                return None
        if process.returncode:
            raise IndexDamaged(f"the process ended with {process.returncode}")
        return msgspec.json.decode(said, type=BuiltSegment)
