"""Sizes that llama.cpp asserts: past them it ends the process, so they are checked before."""

from collections.abc import Sequence
from typing import Protocol

from models.errors import LoadFailed

__all__ = ["SCORED_ROWS", "cache_sizes", "check_rows", "check_sequence", "check_token"]

# Logits that one batch makes for tokens that are given, beside the one a sequence that draws. There
# is a row of the vocabulary in memory for each, so what is longer takes several batches.
SCORED_ROWS = 16


class Rows(Protocol):
    """What `models.worker.llama.Rows` has of interest here."""

    @property
    def sequence(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def logits(self) -> int: ...


def check_rows(rows: Sequence[Rows], *, batch: int, sequences: int, cells: int) -> None:
    """Raise ValueError unless one batch of so many tokens may decode this."""
    total = sum(len(row.tokens) for row in rows)
    if not 0 < total <= batch:
        raise ValueError(f"A batch of {total} tokens; it takes 1 to {batch}.")
    for row in rows:
        check_sequence(row.sequence, sequences)
        end = row.start + len(row.tokens)
        if not row.tokens or row.start < 0 or end > cells:
            raise ValueError(
                f"Sequence {row.sequence}: positions {row.start} to {end} of {cells}; a row has "
                "one at least."
            )
    outputs = sum(row.logits for row in rows)
    if outputs > sequences + SCORED_ROWS or any(row.logits > len(row.tokens) for row in rows):
        raise ValueError(f"{outputs} rows of logits; at most {sequences + SCORED_ROWS} are made.")
    if len({row.sequence for row in rows}) < len(rows):
        raise ValueError("A sequence has two rows in one batch.")


def check_sequence(sequence: int, sequences: int) -> None:
    """Raise ValueError unless there is such a sequence. (To llama.cpp, -1 is all of them.)"""
    if not 0 <= sequence < sequences:
        raise ValueError(f"Sequence {sequence}; there are 0 to {sequences - 1}.")


def check_token(token: int, vocabulary: int) -> None:
    """Raise ValueError unless the vocabulary has such a token."""
    if not 0 <= token < vocabulary:
        raise ValueError(f"Token {token}; there are 0 to {vocabulary - 1}.")


def cache_sizes(
    context: int | None, kv_tokens: int | None, trained: int, parts: int
) -> tuple[int, int]:
    """Tokens of one request and cells in all, of a cache in so many equal parts.

    Raises LoadFailed for a context above what the model was trained for, and for settings that
    contradict each other.
    """
    wanted = context or trained
    if wanted > trained:
        raise LoadFailed(
            f"context = {wanted}, but the model was trained for {trained} tokens. Set context to "
            f"{trained} at most, or leave it out."
        )
    if parts == 1:
        return wanted, max(kv_tokens or 2 * wanted, wanted)
    part = wanted if kv_tokens is None else kv_tokens // parts
    if part < (wanted if context else 1):
        raise LoadFailed(
            f"kv_tokens = {kv_tokens} in {parts} parts, one a parallel request, gives each {part} "
            f"tokens, less than its context of {wanted}. Raise kv_tokens, or lower parallel or "
            "context."
        )
    wanted = min(wanted, part)
    return wanted, parts * wanted
