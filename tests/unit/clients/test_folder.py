import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.folder import Held, Local, Problem, hash_files, list_files, plan

FOLDER = Path("/docs")
PATHS = st.sampled_from(["/docs/a", "/docs/b", "/docs/sub/a", "/other/a", "/docsx"])
HASHES = st.sampled_from(["1", "2"])


@given(
    local=st.dictionaries(PATHS, HASHES),
    held=st.lists(st.tuples(PATHS, HASHES, st.booleans()), max_size=8),
    unread=st.sets(PATHS, max_size=2),
)
def test_a_store_comes_to_hold_what_is_here(
    local: dict[str, str], held: list[tuple[str, str, bool]], unread: set[str]
) -> None:
    files = [Local(path, sha, (0, 0)) for path, sha in local.items() if path not in unread]
    before = [Held(str(place), *one) for place, one in enumerate(held)]
    todo = plan(files, [FOLDER], unread, before)
    gone = {one.file_id for one in todo.delete} | {
        one.file_id for _, replaced in todo.upload for one in replaced
    }
    after = [one[1:3] for one in before if one.file_id not in gone]
    after += [(file.path, file.sha256) for file, _ in todo.upload]
    for file in files:
        assert [sha for path, sha in after if path == file.path] == [file.sha256]
    for one in before:
        if one.path in unread:
            assert one.file_id not in gone, "what cannot be read now is not taken out"
        elif one.path not in local and Path(one.path).is_relative_to(FOLDER):
            assert one.file_id in gone
        elif one.path not in local:
            assert one.file_id not in gone, "it is in no folder that was given"
    assert not {file.path for file, _ in todo.upload} & {file.path for file in todo.unchanged}


def test_folders_are_walked_without_what_is_hidden_or_empty(tmp_path: Path) -> None:
    for name in ("b.md", "sub/a.md", ".hidden.md", ".git/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "broken.md").symlink_to(tmp_path / "nowhere")
    (tmp_path / "__init__.py").touch()
    files, folders, problems = list_files([tmp_path, tmp_path / "b.md", tmp_path / "none.md"])
    assert files == [tmp_path / "b.md", tmp_path / "sub/a.md"]
    assert folders == [tmp_path]
    assert [(Path(path).name, reason) for path, reason in problems] == [
        ("none.md", "does not exist")
    ]


def test_what_is_in_a_folder_that_cannot_be_listed_now_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut").mkdir()
    listed = os.scandir

    def scandir(path: str) -> object:
        if path == str(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # permissions do not bind root
    files, folders, problems = list_files([tmp_path])
    assert problems == [Problem(str(tmp_path / "shut"), "Permission denied")]
    held = [Held(name, str(tmp_path / name / "a.md"), "1", True) for name in ("shut", "gone")]
    todo = plan(hash_files(files, {})[0], folders, [path for path, _ in problems], held)
    assert [one.file_id for one in todo.delete] == ["gone"]


def test_files_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("one")
    (first,), _ = hash_files([path], {})
    known = {first.path: first._replace(sha256="as known")}
    assert hash_files([path], known)[0][0].sha256 == "as known"
    path.write_text("three")
    (second,), _ = hash_files([path], known)
    assert second.sha256 not in ("as known", first.sha256)
    path.unlink()
    assert hash_files([path], known)[1][0].reason == "No such file or directory"
