"""Files that are there whole or not at all, whatever happens."""

import os
from pathlib import Path

__all__ = ["replace_durably", "sync"]


def replace_durably(draft: Path, path: Path) -> None:
    """Puts a finished `draft`, in the same directory, in the place of `path`."""
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file or a directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
