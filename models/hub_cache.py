"""What of a model hub is on this machine: the Hugging Face cache, and what Jurat remembers of it.

Files lie in the cache that every tool of that hub shares (`HF_HOME`), so what another tool fetched
is found, and what Jurat fetches is found by others:

    models--ORG--REPO/blobs/ETAG                     a file's bytes, named by their hash
    models--ORG--REPO/snapshots/COMMIT/PATH          a link to them
    models--ORG--REPO/refs/main                      the commit that `main` was last seen at

A record, one JSON file a source under JURAT_DATA_DIR/hub, pins the commit, so that a model does not
change under its users until they say so. Nothing here uses the network.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
from huggingface_hub import constants
from msgspec import Struct
from msgspec.structs import replace

from models.errors import DownloadFailed
from models.hub_names import DEFAULT_QUANT, MAIN, Reference, choose, is_whole

__all__ = [
    "Record",
    "Stored",
    "blob_path",
    "cache_dir",
    "cached",
    "find_record",
    "lock_path",
    "part_path",
    "read_records",
    "remove",
    "snapshot",
    "write_record",
]

RECORDS = "hub"
COMMIT_LENGTH = 40


class Stored(Struct, frozen=True, kw_only=True):
    """One file: its path in the repository, its bytes' name in the cache, the commit it is of."""

    path: str
    size: int
    blob: str
    commit: str


class Record(Struct, frozen=True, kw_only=True):
    """What was pulled for one source. `files` make the model, the first is the one to load."""

    source: str
    repo: str
    revision: str  # that was asked for
    commit: str  # that is used until `jurat models update`
    folder: bool
    files: tuple[Stored, ...]
    former: tuple[Stored, ...] = ()  # of commits used before

    def path(self) -> Path | None:
        """The file or folder to load, if all of it is here."""
        folder = snapshot(self.repo, self.commit)
        if not self.files or not all((folder / file.path).is_file() for file in self.files):
            return None
        return folder if self.folder else folder / self.files[0].path


def cached(reference: Reference, data_dir: Path | None) -> Record | None:
    """The record of a model that is here whole, or None.

    Without a record of our own the cache itself is asked, at the commit another tool left there.
    """
    record = find_record(reference, data_dir) if data_dir is not None else None
    if record is not None:
        return record if record.path() is not None else None
    return _found(reference)


def find_record(reference: Reference, data_dir: Path) -> Record | None:
    """What was pulled, or began to be pulled, for a source."""
    for name in _names(reference):
        try:
            content = _record_path(name, reference.revision, data_dir).read_bytes()
            record = msgspec.json.decode(content, type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            continue  # a damaged record is as good as none: pulling writes it anew
        if not (record.folder and reference.wants == "gguf"):
            return record
    return None


def read_records(data_dir: Path) -> list[Record]:
    """Every record."""
    found: list[Record] = []
    for path in sorted((data_dir / RECORDS).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except msgspec.DecodeError:
            continue
    return found


def write_record(record: Record, data_dir: Path) -> None:
    """Write whole or not at all."""
    path = _record_path(record.source, record.revision, data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    draft.replace(path)


def remove(record: Record, others: Iterable[Record], data_dir: Path) -> int:
    """Delete a record's files, and the record; returns the bytes that are free again.

    What `others` use stays, and so do files of the repository that were never pulled for it.
    """
    kept = [file for other in others if other.repo == record.repo for file in other.files]
    links = {(file.commit, file.path) for file in kept}
    for file in (*record.files, *record.former):
        if (file.commit, file.path) not in links:
            _unlink(snapshot(record.repo, file.commit) / file.path)
    still = _linked(record.repo) | {file.blob for file in kept}
    freed = 0
    for blob in {file.blob for file in (*record.files, *record.former)} - still:
        for path in (blob_path(record.repo, blob), part_path(record.repo, blob)):
            if path.is_file():
                freed += path.lstat().st_size
                path.unlink()
    blobs = _repo_path(record.repo) / "blobs"
    if blobs.is_dir() and not any(blobs.iterdir()):
        shutil.rmtree(_repo_path(record.repo), ignore_errors=True)
    _record_path(record.source, record.revision, data_dir).unlink(missing_ok=True)
    return freed


def snapshot(repo: str, commit: str) -> Path:
    """The folder of one commit's files."""
    return _repo_path(repo) / "snapshots" / commit


def blob_path(repo: str, blob: str) -> Path:
    """Where a file's bytes are, once all of them are there."""
    return _repo_path(repo) / "blobs" / blob


def part_path(repo: str, blob: str) -> Path:
    """Where they are before. The hub's own client begins again each time, under random names."""
    return _repo_path(repo) / "blobs" / f"{blob}.jurat.incomplete"


def cache_dir() -> Path:
    """Where the hub's cache is: HF_HUB_CACHE, or below HF_HOME."""
    return Path(constants.HF_HUB_CACHE)


def lock_path(repo: str, blob: str) -> Path:
    """The lock that the hub's own client takes too."""
    return cache_dir() / ".locks" / _repo_path(repo).name / f"{blob}.lock"


def _found(reference: Reference) -> Record | None:
    """A model that another tool has put into the cache."""
    commit = reference.revision
    ref = _repo_path(reference.repo) / "refs" / commit
    if ref.is_file():
        commit = ref.read_text("utf-8").strip()
    folder = snapshot(reference.repo, commit)
    if len(commit) != COMMIT_LENGTH or not folder.is_dir():
        return None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        choice = choose(names, reference, lone=False)
    except DownloadFailed:
        return None
    if choice.folder and not (is_whole(choice.files) and _has_shards(folder, choice.files)):
        return None
    return Record(
        source=str(replace(reference, quant=choice.quant)),
        repo=reference.repo,
        revision=reference.revision,
        commit=commit,
        folder=choice.folder,
        files=tuple(_stored(folder, name, commit) for name in choice.files),
    )


def _has_shards(folder: Path, names: Iterable[str]) -> bool:
    """Whether all files that an index of weights names are here."""
    for name in names:
        if name.endswith(".index.json"):
            try:
                index = msgspec.json.decode((folder / name).read_bytes(), type=_Index)
            except msgspec.DecodeError:
                return False
            beside = (folder / name).parent
            if not all((beside / shard).is_file() for shard in set(index.weight_map.values())):
                return False
    return True


class _Index(Struct):
    """`model.safetensors.index.json`: which file each tensor is in."""

    weight_map: dict[str, str]


def _stored(folder: Path, name: str, commit: str) -> Stored:
    path = folder / name
    # A link to the blob; on a disk without links it is the file itself, which has no blob.
    blob = Path(os.readlink(path)).name if path.is_symlink() else ""  # noqa: PTH115
    return Stored(path=name, size=path.stat().st_size, blob=blob, commit=commit)


def _names(reference: Reference) -> list[str]:
    """Under which names the record of a source may stand: only a listing tells which it is."""
    if reference.file or reference.quant:
        return [str(reference)]
    names = [str(replace(reference, quant=DEFAULT_QUANT)), str(reference)]
    return names[::-1] if reference.wants == "folder" else names


def _record_path(source: str, revision: str, data_dir: Path) -> Path:
    name = source.removeprefix("hf:") + ("" if revision == MAIN else f"@{revision}")
    # An escape for every character that a file's name had better not have; none maps to another.
    safe = "".join(
        c if c.isascii() and (c.isalnum() or c in "._-") else f"+{ord(c):x}+" for c in name
    )
    return data_dir / RECORDS / f"{safe}.json"


def _repo_path(repo: str) -> Path:
    name = constants.REPO_ID_SEPARATOR.join(("models", *repo.split("/")))
    return cache_dir() / name


def _linked(repo: str) -> set[str]:
    """Names of the blobs that any file of any snapshot links to."""
    return {
        Path(os.readlink(path)).name  # noqa: PTH115
        for path in (_repo_path(repo) / "snapshots").rglob("*")
        if path.is_symlink()
    }


def _unlink(path: Path) -> None:
    """Delete a file and the folders that it leaves empty, up to the snapshots' own."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder.name == "snapshots" or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
