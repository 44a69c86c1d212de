"""What llama.cpp's unified KV cache does, written with sets, to hold `slots` against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Cell", "ReferenceCache"]


@dataclass
class Cell:
    position: int
    token: int
    owner: str
    sequences: set[int]


class ReferenceCache:
    """Cells and the sequences that refer to each. Every misuse is an AssertionError."""

    def __init__(self, capacity: int, owner_of: Callable[[int], str]) -> None:
        self.capacity = capacity
        self.owner_of = owner_of
        self.cells: list[Cell] = []

    def tokens(self, sequence: int) -> list[int]:
        found = sorted(
            (cell.position, cell.token) for cell in self.cells if sequence in cell.sequences
        )
        assert [position for position, _ in found] == list(range(len(found))), "a hole"
        return [token for _, token in found]

    def append(self, sequence: int, start: int, tokens: Sequence[int]) -> None:
        owner = self.owner_of(sequence)
        assert len(self.tokens(sequence)) == start, "the sequence ends somewhere else"
        for cell in self.cells:
            assert sequence not in cell.sequences or cell.owner == owner, "another owner's prefix"
        assert len(self.cells) + len(tokens) <= self.capacity, "over-committed"
        self.cells += [Cell(start + n, token, owner, {sequence}) for n, token in enumerate(tokens)]

    def share(self, source: int, target: int, length: int) -> None:
        assert not any(target in cell.sequences for cell in self.cells), "target is not empty"
        for cell in self.cells:
            if source in cell.sequences and cell.position < length:
                cell.sequences.add(target)

    def cut(self, sequence: int, length: int) -> None:
        for cell in self.cells:
            if cell.position >= length:
                cell.sequences.discard(sequence)
        self.cells = [cell for cell in self.cells if cell.sequences]
