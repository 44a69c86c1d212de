import pytest

from models.worker.limits import SCORED_ROWS, check_rows, check_token
from models.worker.llama import Rows

LIMITS = {"batch": 8, "sequences": 3, "cells": 20}


def rows(*given: tuple[int, int, int]) -> list[Rows]:
    return [Rows(sequence, start, [5] * count, count > 0) for sequence, start, count in given]


@pytest.mark.parametrize(
    "given", [[(0, 0, 8)], [(0, 0, 1), (1, 0, 1), (2, 0, 1)], [(2, 12, 8)], [(1, 19, 1)]]
)
def test_what_fits_is_decoded(given: list[tuple[int, int, int]]) -> None:
    check_rows(rows(*given), **LIMITS)


def test_more_logits_than_there_is_room_for_are_refused() -> None:
    limits = {**LIMITS, "batch": 40, "cells": 40}
    check_rows([Rows(0, 0, [5] * 30, LIMITS["sequences"] + SCORED_ROWS)], **limits)
    with pytest.raises(ValueError, match="20 rows of logits"):
        check_rows([Rows(0, 0, [5] * 30, LIMITS["sequences"] + SCORED_ROWS + 1)], **limits)
    with pytest.raises(ValueError, match="3 rows of logits"):
        check_rows([Rows(0, 0, [5] * 2, 3)], **limits)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "0 tokens"),
        ([(0, 0, 9)], "9 tokens"),
        ([(0, 0, 4), (1, 0, 5)], "9 tokens"),
        ([(3, 0, 1)], "Sequence 3"),
        ([(-1, 0, 1)], "Sequence -1"),
        ([(0, -1, 1)], "positions -1"),
        ([(0, 16, 5)], "16 to 21 of 20"),
        ([(0, 0, 1), (1, 0, 0)], "Sequence 1"),
        ([(1, 0, 1), (1, 1, 1)], "two rows"),
    ],
)
def test_what_llama_cpp_would_not_survive_is_refused(
    given: list[tuple[int, int, int]], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        check_rows(rows(*given), **LIMITS)


@pytest.mark.parametrize("token", [-1, 40])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match=str(token)):
        check_token(token, 40)
