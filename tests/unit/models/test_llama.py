"""The real SmolLM2 at the level of cells. In safe mode, which runs on every processor."""

from collections.abc import Iterator

import numpy as np
import pytest

from models.worker.llama import BATCH, Llama, Rows
from tests.real_models import smollm2_path

PROMPT = "The keys to the house are in the"


@pytest.fixture(scope="module")
def loaded() -> Llama:
    return Llama(
        smollm2_path(),
        context=256,
        kv_tokens=512,
        sequences=4,
        threads=2,
        gpu_layers=0,
        safe_mode=True,
    )


@pytest.fixture
def llama(loaded: Llama) -> Iterator[Llama]:
    loaded.clear()
    yield loaded
    loaded.clear()


def run(llama: Llama, sequence: int = 0) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """Logits of a prompt and of each token of a continuation."""
    tokens = llama.tokenize(PROMPT, add_special=True, parse_special=False)
    rows = [Rows(sequence, 0, tokens, True)]
    rows += [Rows(sequence, len(tokens) + n, [100 + n], True) for n in range(10)]
    found: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    for row in rows:
        assert llama.decode([row]) == 0
        found.append(llama.logits(1)[0].copy())
    return np.stack(found)


@pytest.mark.parametrize("before", [7, 245])
def test_what_other_sequences_hold_changes_no_bit(llama: Llama, before: int) -> None:
    """At 245 cells the sequence crosses a block of 256: its bits differ from those at 7, but they
    may depend on where it lies only, never on what somebody else wrote beside it."""
    seen: list[bytes] = []
    for neighbour, token in ((2, 5), (2, 900), (3, 17)):
        llama.clear()
        assert llama.decode([Rows(neighbour, 0, [token] * before, False)]) == 0
        seen.append(run(llama).tobytes())
    assert len(set(seen)) == 1


def test_a_shared_prefix_is_as_good_as_ones_own(llama: Llama) -> None:
    tokens = llama.tokenize(PROMPT, add_special=True, parse_special=False)
    expected = run(llama, 0)
    llama.share(0, 1, len(tokens))
    rows = [Rows(1, len(tokens) + n, [100 + n], True) for n in range(10)]
    for row, logits in zip(rows, expected[1:], strict=True):
        assert llama.decode([row]) == 0
        assert np.array_equal(llama.logits(1)[0], logits)


def test_what_was_cut_is_forgotten(llama: Llama) -> None:
    expected = run(llama)
    llama.cut(0, 3)
    assert llama.decode([Rows(0, 3, [7, 8, 9], False)]) == 0
    llama.cut(0, 0)
    assert np.array_equal(run(llama), expected)


def test_no_room_is_said_and_costs_nothing(llama: Llama) -> None:
    assert llama.decode([Rows(1, 0, [5] * 512, False)]) == 0
    assert llama.decode([Rows(0, 0, [1], True)]) == 1
    llama.cut(1, 0)
    assert llama.decode([Rows(0, 0, [1], True)]) == 0


@pytest.mark.parametrize("size", [0, BATCH + 1])
def test_a_batch_that_would_end_the_process_is_refused_here(llama: Llama, size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        llama.decode([Rows(0, 0, [1] * size, True)])


def test_tokens_give_the_bytes_back(llama: Llama) -> None:
    text = "naïve café: 東京 🙂\n\n\ttabs  and   spaces"
    tokens = llama.tokenize(text, add_special=False, parse_special=False)
    assert b"".join(map(llama.piece, tokens)).decode() == text
    assert llama.tokenize("", add_special=False, parse_special=False) == []
