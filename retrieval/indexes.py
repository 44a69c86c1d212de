"""The indexes of all stores: opened when they are first searched, then kept in step."""

import logging
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.background import Background
from retrieval.errors import IndexDamaged
from retrieval.index_source import IndexSource
from retrieval.keyword_index import KeywordIndex, Matches
from retrieval.segment_building import SegmentBuilding
from retrieval.segments import SegmentedVectors, verify
from retrieval.store import EmbeddedBy, Written

__all__ = ["Indexes", "StoreIndex", "damage"]

log = logging.getLogger("jurat.retrieval")

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

# What is open at once. A store's tail is at most some 30 MB; its segments are mapped files.
_OPEN_STORES = 64
# Indexes follow what was committed so much later, so that files in a row share a commit of the
# keyword index, which costs what embedding a page does. A search brings them up to date itself.
_PAUSE_S = 0.5
_STAGING = ".new"
VECTORS = "vectors"
WORDS = "words"


class StoreIndex:
    """The vectors and words of one store, in the directory `path`. Opened by `refresh`.

    Searches take what was there at the last `refresh`; they wait for no writer.
    """

    def __init__(
        self, path: Path, source: IndexSource, store_id: str, embedder: EmbeddedBy
    ) -> None:
        self._path = path
        self._source = source
        self._store = store_id
        self._embedder = embedder
        self._lock = threading.Lock()
        self._closed = False
        self._newest = -1  # the highest chunk id, of any store, when this was last brought up
        self._read_to = 0  # the highest chunk id of which the vectors are here
        self._noting = threading.Lock()
        self._removed: list[int] = []  # chunks that are gone since
        self.vectors: SegmentedVectors
        self.words: KeywordIndex

    def note(self, removed: Sequence[int]) -> None:
        """Those chunks are gone; the next `refresh` forgets them."""
        with self._noting:
            self._removed += removed

    def refresh(self) -> bool:
        """Brings the index up to what is committed. False for one that was closed meanwhile."""
        newest = self._source.newest()
        if newest == self._newest and not self._removed:
            return not self._closed
        with self._lock:
            if self._closed:
                return False
            with self._noting:
                removed, self._removed = self._removed, []
            try:
                if self._newest < 0:
                    self._open()
                elif removed:
                    self.vectors.remove(np.array(removed, np.int64))
                if newest > self._newest or removed:
                    self._follow(newest, removed)
            except BaseException:
                self._newest = -1  # what is on the disk is looked at again
                raise
            return True

    def search_words(self, query: str, k: int, within: Ids | None) -> Matches:
        """As KeywordIndex.search. A damaged index is built anew, which takes a while."""
        try:
            return self.words.search(query, k, within)
        except IndexDamaged as error:
            with self._lock:
                if self._closed:  # the directory may be another index's by now
                    raise
                self._rebuild_words(error)
            return self.words.search(query, k, within)

    def close(self, *, delete: bool = False, wait: bool = True) -> bool:
        """Waits for a writer, or else is False. No later `refresh` writes to the directory."""
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            self._closed = True
            if self._newest >= 0:
                self.vectors.close()
            if delete:
                shutil.rmtree(self._path, ignore_errors=True)
            return True
        finally:
            self._lock.release()

    def _open(self) -> None:
        try:
            self.vectors = self._open_vectors()
        except IndexDamaged as error:
            log.warning("building a vector index anew: %s", error)
            shutil.rmtree(self._path / VECTORS, ignore_errors=True)
            self.vectors = self._open_vectors()
        self._read_to = self.vectors.built_to
        try:
            self.words = KeywordIndex(self._path / WORDS)
            self._match_words()
        except IndexDamaged as error:
            self._rebuild_words(error)

    def _open_vectors(self) -> SegmentedVectors:
        return SegmentedVectors(self._path / VECTORS, self._source, self._store, *self._embedder)

    def _match_words(self) -> None:
        """Forgets what is no longer in the store. Raises IndexDamaged where something lacks."""
        newest, built_to = self.words.newest(), self.vectors.built_to
        if newest >= built_to:
            count = self.vectors.counted + self._source.count(self._store, built_to, newest)
        else:
            count = self._source.count(self._store, 0, newest)
        if len(self.words) == count:
            return
        held, live = self.words.ids(), self._source.ids(self._store, 0, newest)
        if len(np.setdiff1d(live, held)):
            raise IndexDamaged(f"{self._path / WORDS}: passages are missing")
        self.words.apply((), np.setdiff1d(held, live).tolist())

    def _rebuild_words(self, error: IndexDamaged) -> None:
        log.warning("building a keyword index anew: %s", error)
        shutil.rmtree(self._path / WORDS, ignore_errors=True)
        self.words = KeywordIndex(self._path / WORDS)
        if self._newest > 0:
            self.words.apply(self._source.texts(self._store, 0, self._newest))

    def _follow(self, newest: int, removed: Sequence[int]) -> None:
        for ids, vectors in self._source.vectors(
            self._store, self._read_to, newest, self._embedder.dimension
        ):
            self.vectors.add(ids, vectors)
        self._read_to = newest
        above = max(self._newest, 0) if self._newest >= 0 else self.words.newest()
        texts = self._source.texts(self._store, above, newest)
        first = list(islice(texts, 1))
        if first or removed:
            try:
                self.words.apply(chain(first, texts), removed)
            except IndexDamaged as error:
                self._newest = newest
                self._rebuild_words(error)
        self._newest = newest


def damage(path: Path, source: IndexSource, store_id: str, embedder: EmbeddedBy) -> list[str]:
    """What is wrong with a store's index in `path`, whose files are all read. Changes nothing.

    One that lags behind the database is not damaged: it follows when it is opened.
    """
    problems: list[str] = []
    try:
        verify(path / VECTORS, *embedder)
    except IndexDamaged as error:
        problems.append(str(error))
    if (path / WORDS).is_dir():
        try:
            words = KeywordIndex(path / WORDS)
            missing = np.setdiff1d(source.ids(store_id, 0, words.newest()), words.ids())
            if len(missing):
                problems.append(f"{path / WORDS}: passages missing: {len(missing)}")
        except IndexDamaged as error:
            problems.append(str(error))
    return problems


class Indexes:
    """Below the directory `path`, one for each store. Synchronous; calls may wait for the disk.

    `embedder` says whose vectors are searched; it is asked when an index is opened. `threads`
    build a segment.
    """

    def __init__(
        self,
        path: Path,
        source: IndexSource,
        embedder: Callable[[], EmbeddedBy],
        threads: int = 1,
    ) -> None:
        self.source = source
        self._path = path
        self._embedder = embedder
        self._open: OrderedDict[str, StoreIndex] = OrderedDict()
        self._lock = threading.Lock()
        self._building = SegmentBuilding(source, threads)
        self._following = Background("following", self._follow, _PAUSE_S)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()

    def get(self, store_id: str) -> StoreIndex:
        """A store's index, brought up to what is committed.

        The caller has made sure that whoever asks may search the store.
        """
        while True:
            with self._lock:
                index = self._held(store_id)
            if index.refresh():
                self._build(store_id, index)
                return index

    def write(self, store_id: str, commit: Callable[[], Written]) -> None:
        """Runs `commit`; the store's index is brought up to it at the next search, or soon."""
        written = commit()
        with self._lock:
            # Where only something went, an index that is not open need not be opened for it.
            index = self._held(store_id) if written.added else self._open.get(store_id)
        if index is not None:
            index.note(written.removed)
            self._following.ask(store_id)

    def forget(self, commit: Callable[[], object], store_id: str | None = None) -> None:
        """Runs `commit`, then drops the store's index, or all of them, with their files."""
        commit()
        with self._lock:
            for name in [store_id] if store_id is not None else list(self._open):
                self._discard(name)
            if store_id is None:
                self._sweep(everything=True)

    @property
    def staging(self) -> Path:
        """Where indexes are built that are to take the place of others, by their stores' ids."""
        return self._path / _STAGING

    @property
    def embedder(self) -> EmbeddedBy:
        """Whose vectors are searched."""
        return self._embedder()

    def exchange(self, store_id: str) -> None:
        """What is built in `staging` takes the place of the store's index, if there is the store.

        A search that has begun goes on in the old one, whose files last as long as it does.
        """
        with self._lock:
            self._discard(store_id)
            if store_id in self.source.stores():
                (self.staging / store_id).rename(self._path / store_id)

    def settle(self) -> None:
        """Waits until all indexes that are open have followed, and nothing is being built."""
        self._following.settle()
        self._building.settle()

    def close(self) -> None:
        """Breaks off what is being built; the next process begins it anew."""
        self._following.close()
        self._building.close()
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
        self.source.close()

    def _follow(self, store_id: str) -> None:
        """What has been committed stays so: an index that cannot follow is looked at again when it
        is searched."""
        with self._lock:
            index = self._open.get(store_id)
        try:
            if index is not None and index.refresh():
                self._build(store_id, index)
        except (IndexDamaged, OSError, sqlite3.Error):
            log.exception("the index of store %s does not follow", store_id)

    def _held(self, store_id: str) -> StoreIndex:
        index = self._open.get(store_id)
        if index is None:
            index = StoreIndex(self._path / store_id, self.source, store_id, self._embedder())
            self._open[store_id] = index
            for oldest in list(self._open)[: max(0, len(self._open) - _OPEN_STORES)]:
                if self._open[oldest].close(wait=False):  # one that is being built stays
                    del self._open[oldest]
        self._open.move_to_end(store_id)
        return index

    def _discard(self, store_id: str) -> None:
        """Closes the store's index and removes its files. The lock is held."""
        index = self._open.pop(store_id, None)
        if index is not None:
            index.close(delete=True)
        self._building.drop(store_id)
        shutil.rmtree(self._path / store_id, ignore_errors=True)

    def _build(self, store_id: str, index: StoreIndex) -> None:
        if index.vectors.wanted() is not None:
            self._building.ask(store_id, index.vectors, self._embedder().dimension)

    def _sweep(self, *, everything: bool = False) -> None:
        """Removes the indexes of stores that are gone."""
        kept: set[str] = set() if everything else set(self.source.stores())
        for directory in self._path.iterdir():
            if directory.name not in kept:
                shutil.rmtree(directory, ignore_errors=True)
