"""Common prefixes of token sequences."""

from collections.abc import Sequence

__all__ = ["common_prefix"]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix; whole slices are compared, so this is fast in C."""
    low, high = 0, min(len(a), len(b))
    a, b = list(a[:high]), list(b[:high])
    if a == b:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
