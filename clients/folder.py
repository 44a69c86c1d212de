"""Files on this machine, and what is to be done so that a store holds the same. Pure but for reads.

A file is known by its absolute path, and its content by its hash: both are attributes of the file
in the store.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Held", "Local", "Plan", "Problem", "hash_files", "list_files", "plan"]

_LONGEST_PATH = 512  # characters of an attribute


class Local(NamedTuple):
    """A file here. `stamp` changes when its content may have."""

    path: str
    sha256: str
    stamp: tuple[int, int]


class Problem(NamedTuple):
    """A path that cannot be ingested, and why."""

    path: str
    reason: str


class Held(NamedTuple):
    """A file in the store."""

    file_id: str
    path: str
    sha256: str
    completed: bool


class Plan(NamedTuple):
    """`upload`: files with what each replaces. `delete`: what is no longer here."""

    upload: list[tuple[Local, list[Held]]]
    unchanged: list[Local]
    delete: list[Held]


def list_files(given: Iterable[Path]) -> tuple[list[Path], list[Path], list[Problem]]:
    """The files, the folders they were found in, and what is neither; paths are absolute.

    Folders are walked in the order of names; what is hidden or empty is left out, and links to
    folders are not followed.
    """
    files: dict[Path, None] = {}
    folders: list[Path] = []
    problems: list[Problem] = []

    def unread(error: OSError) -> None:
        problems.append(Problem(str(error.filename), error.strerror or str(error)))

    for path in given:
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links are kept: users know them
        if absolute.is_dir():
            folders.append(absolute)
            for directory, below, names in os.walk(absolute, onerror=unread):
                below[:] = sorted(name for name in below if not name.startswith("."))
                found = (Path(directory, name) for name in sorted(names) if name[0] != ".")
                files.update(dict.fromkeys(path for path in found if _has_content(path)))
        elif absolute.is_file():
            files[absolute] = None
        else:
            kind = "is neither a file nor a folder" if absolute.exists() else "does not exist"
            problems.append(Problem(str(path), kind))
    return list(files), folders, problems


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return True  # why it cannot be read, reading it says


def hash_files(
    paths: Iterable[Path], known: Mapping[str, Local]
) -> tuple[list[Local], list[Problem]]:
    """The files with their hashes; one that is `known` and looks unchanged is not read again."""
    found: list[Local] = []
    problems: list[Problem] = []
    for path in paths:
        name = str(path)
        if len(name) > _LONGEST_PATH or name.encode("utf-8", "replace").decode() != name:
            reason = f"the path is longer than {_LONGEST_PATH} characters, or no text"
            problems.append(Problem(ascii(name), reason))
            continue
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            before = known.get(name)
            if before is None or before.stamp != stamp:
                with path.open("rb") as file:
                    before = Local(name, hashlib.file_digest(file, "sha256").hexdigest(), stamp)
            found.append(before)
        except OSError as error:
            problems.append(Problem(name, error.strerror or str(error)))
    return found, problems


def plan(
    files: Sequence[Local], folders: Sequence[Path], unread: Iterable[str], held: Sequence[Held]
) -> Plan:
    """What to do. `unread` are files and folders that could not be read: what is held stays."""
    of_path: dict[str, list[Held]] = {}
    for one in held:
        of_path.setdefault(one.path, []).append(one)
    upload: list[tuple[Local, list[Held]]] = []
    unchanged: list[Local] = []
    delete: list[Held] = []
    for file in files:
        before = of_path.pop(file.path, [])
        same = [one for one in before if one.sha256 == file.sha256 and one.completed]
        if same:
            unchanged.append(file)
            # What an ingest that was broken off left beside it.
            delete += [one for one in before if one is not same[0]]
        else:
            upload.append((file, before))
    kept = list(unread)
    gone = [
        one
        for path, ones in of_path.items()
        if any(Path(path).is_relative_to(folder) for folder in folders)
        and not any(Path(path).is_relative_to(place) for place in kept)
        for one in ones
    ]
    return Plan(upload, unchanged, delete + gone)
