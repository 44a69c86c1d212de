"""What an ingest is given: paths, folders, or names with bytes. Synchronous: it reads the disk."""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from retrieval.errors import FileRejected
from retrieval.parse import clean_filename

__all__ = ["Given", "Source", "expand", "read"]

Given = Path | tuple[str, bytes]


class Source(Struct, frozen=True, kw_only=True):
    """One file. `name` is what it is called in the store; `problem` says why it has no content."""

    name: str
    content: Path | bytes
    problem: str = ""


def expand(given: Sequence[Given]) -> list[Source]:
    """One source a file, folders walked in the order of names; hidden files are left out.

    A file is called by its base name, one from a folder by its path below that folder, so that
    two of the same name do not replace each other. Names that still collide carry a problem.
    """
    found: list[Source] = []
    for item in given:
        if isinstance(item, tuple):
            found.append(_named(item[0], item[1]))
        elif _is_folder(item):
            found += [_named(relative, path) for relative, path in _walk(item)]
        else:
            found.append(_named(item.name, item))
    seen: set[str] = set()
    sources: list[Source] = []
    for source in found:
        if source.name in seen and not source.problem:
            source = Source(
                name=source.name,
                content=b"",
                problem=f"{source.name}: another file of this name is in the same request",
            )
        seen.add(source.name)
        sources.append(source)
    return sources


def read(source: Source, max_bytes: int) -> bytes:
    """The content. Raises FileRejected: too large, unreadable, or with the source's problem."""
    if source.problem:
        raise FileRejected(source.problem)
    if isinstance(source.content, bytes):
        _check_size(source.name, len(source.content), max_bytes)
        return source.content
    try:
        if not source.content.is_file():
            kind = "is not a regular file" if source.content.exists() else "does not exist"
            raise FileRejected(f"{source.content} {kind}")
        with source.content.open("rb") as file:
            _check_size(source.name, os.fstat(file.fileno()).st_size, max_bytes)
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise FileRejected(f"{source.content} cannot be read: {error.strerror}") from error
    _check_size(source.name, len(content), max_bytes)  # it may have grown
    return content


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FileRejected(f"{name}: the file has {size} bytes; at most {max_bytes} are taken")


def _named(name: str, content: Path | bytes) -> Source:
    try:
        if isinstance(content, Path):  # a path below a folder we walked: its parts are clean names
            clean = "/".join(clean_filename(part) for part in Path(name).parts)
        else:
            clean = clean_filename(name)
    except FileRejected as rejected:
        # Fit to be shown and stored in a report, whatever the name was made of.
        shown = ascii(name)
        return Source(name=shown, content=b"", problem=str(rejected))
    return Source(name=clean, content=content)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # reading it will say why


def _walk(folder: Path) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for directory, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(directory, name)
                found.append((path.relative_to(folder).as_posix(), path))
    return found
