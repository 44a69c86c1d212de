"""An index built anew beside the one that is searched."""

import threading
from pathlib import Path

from retrieval.renewal import Renewal
from tests.unit.retrieval.test_indexes import Bench, bench, spoiled

__all__ = ["bench"]  # a fixture


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_searches_and_writers_go_on_meanwhile(bench: Bench) -> None:
    bench.add(40, parts=2)
    old = bench.indexes.get(bench.store)
    renewal = Renewal(bench.indexes, [bench.store])
    before = old.vectors
    bench.indexes.write(bench.store, lambda: bench.add(5, seed=1))
    bench.check()
    assert renewal.next() == bench.store
    bench.indexes.write(bench.store, lambda: bench.delete([1, 2, 41]))
    bench.check()
    assert bench.indexes.get(bench.store).vectors is not before
    # A search that began in the old index still ends.
    assert len(old.words.search("shared", 100).ids) >= 40
    assert renewal.next() is None
    renewal.close()
    assert not bench.indexes.staging.exists()
    bench.reopen()
    bench.check()


def test_a_damaged_index_is_exchanged(bench: Bench) -> None:
    bench.add(10)
    bench.check()
    spoiled(next((bench.folder / "indexes" / bench.store / "words").glob("*.term")))
    renewal = Renewal(bench.indexes, [bench.store])
    while renewal.next():
        pass
    renewal.close()
    bench.check()
    bench.reopen()
    bench.check()


def test_broken_off_nothing_changes(bench: Bench) -> None:
    bench.add(10)
    bench.check()
    before = files(bench.folder / "indexes" / bench.store)
    renewal = Renewal(bench.indexes, [bench.store])
    ended: list[str | None] = []
    waits = threading.Thread(target=lambda: ended.append(renewal.next()))
    waits.start()
    renewal.close()  # before the process has begun, or while it is waited for
    waits.join()
    assert ended == [None]
    assert renewal.next() is None
    assert not bench.indexes.staging.exists()
    assert files(bench.folder / "indexes" / bench.store) == before
    bench.check()


def test_a_store_that_is_deleted_meanwhile_leaves_nothing(bench: Bench) -> None:
    bench.add(10)
    renewal = Renewal(bench.indexes, [bench.store])

    def delete() -> None:
        with bench.database.transaction() as execute:
            execute("DELETE FROM stores WHERE id = ?", (bench.store,))

    bench.indexes.forget(delete, bench.store)
    renewal.next()
    renewal.close()
    assert files(bench.folder / "indexes") == set()
