from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.segment_rows import SegmentRows, write_rows

DIMENSION = 3


@given(
    st.lists(st.integers(1, 4), max_size=8),  # parts of the chunks 10, 12, 14, …
    st.lists(st.integers(8, 30), unique=True, max_size=8),
)
def test_the_parts_of_any_chunks_are_found(parts: list[int], wanted: list[int]) -> None:
    ids = np.repeat(np.arange(10, 10 + 2 * len(parts), 2), parts)
    vectors = np.random.default_rng(0).random((len(ids), DIMENSION), np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "0-30.vectors"
        half = len(ids) // 2
        batches = [(ids[:half], vectors[:half]), (ids[half:], vectors[half:])]
        assert write_rows(path, DIMENSION, batches).tolist() == ids.tolist()
        rows = SegmentRows(path, DIMENSION, len(ids))
        found = rows.rows_of(np.array(wanted, np.int64))
        expected = [row for one in wanted for row in np.flatnonzero(ids == one)]
        assert found.tolist() == expected
        np.testing.assert_array_equal(rows.vectors(found), vectors[expected])
        np.testing.assert_array_equal(np.vstack([vectors[:0], *rows.batches()]), vectors)
