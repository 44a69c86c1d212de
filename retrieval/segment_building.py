"""Segments are built one at a time, each by a process of its own, which a thread waits for."""

import logging
import subprocess
import threading
from collections import OrderedDict

import msgspec

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
        self._waiting: OrderedDict[str, tuple[SegmentedVectors, int]] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._building: str | None = None
        self._failed: dict[str, Build] = {}
        self._closing = False

    def ask(self, store_id: str, vectors: SegmentedVectors, dimension: int) -> None:
        """Builds what `vectors` wants, unless that is being done."""
        with self._changed:
            wanted = vectors.wanted()
            if self._closing or store_id == self._building or wanted == self._failed.get(store_id):
                return
            self._waiting[store_id] = vectors, dimension
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="segments", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self) -> None:
        """Waits until nothing is left to build."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and self._building is None)

    def close(self) -> None:
        """Ends the process, if one builds, and the thread."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            if self._process is not None:
                self._process.kill()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._building = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                store_id, (vectors, dimension) = self._waiting.popitem(last=False)
                self._building = store_id
            while (build := vectors.wanted()) is not None and not self._closing:
                if not self._build(store_id, vectors, dimension, build):
                    self._failed[store_id] = build
                    break

    def _build(
        self, store_id: str, vectors: SegmentedVectors, dimension: int, build: Build
    ) -> bool:
        command = arguments(self._source.path, store_id, dimension, build, self._threads)
        with self._changed:
            if self._closing:
                return False
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        with self._process as process:
            assert process.stdout is not None
            said = process.stdout.read()  # its input stays open: it ends when that does
        with self._changed:
            self._process = None
        if self._closing:
            return False
        try:
            if process.returncode:
                raise IndexDamaged(f"the process ended with {process.returncode}")
            vectors.take(msgspec.json.decode(said, type=BuiltSegment))
        except (IndexDamaged, msgspec.MsgspecError, OSError) as error:
            log.error("segment %s of store %s was not built: %s", build.stem, store_id, error)
            return False
        return True
