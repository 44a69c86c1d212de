import asyncio
import logging
import tempfile
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.engines.fake import FakeEngine
from models.errors import LoadFailed, ModelNotFound, SourceError
from models.registry import Registry, ResidencyLimits
from models.settings import ModelSettings
from models.types import GenerateRequest, TextPrompt

FAKE = ModelSettings(id="a", kind="fake", context=100)


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_models_are_found_by_name_in_their_order(tmp_path: Path) -> None:
    registry = Registry({"b": FAKE, "a": FAKE}, tmp_path)
    assert registry.ids() == registry.catalog() == ("b", "a")
    assert registry.settings("a") is FAKE
    assert registry.get("a") is not registry.get("b")
    assert {name: s.state for name, s in registry.stats().items()} == {
        "b": "unloaded",
        "a": "unloaded",
    }
    await registry.stop(1)


async def test_an_unknown_model_is_named_with_those_there_are(tmp_path: Path) -> None:
    registry = Registry({"a": FAKE}, tmp_path)
    for call in (registry.get, registry.settings):
        with pytest.raises(ModelNotFound, match=r"'nope'.*Known models: a\.") as raised:
            call("nope")
        assert raised.value.model == "nope"
    await registry.stop(1)


@pytest.mark.parametrize("source", ["file:missing.gguf", "package:no_such/x", "", "nonsense"])
async def test_a_missing_file_stops_it_at_once_and_leaves_nothing(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bad = ModelSettings(id="bad", kind="chat", source=source)
    with pytest.raises(SourceError) as raised:
        Registry({"a": FAKE, "bad": bad}, tmp_path, base=tmp_path)
    assert str(raised.value).startswith(f"Model 'bad': Source '{source}'")
    assert entries(tmp_path) == []


async def test_relative_files_start_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    settings = ModelSettings(id="m", kind="chat", source="file:m.gguf")
    registry = Registry({"m": settings}, tmp_path, base=tmp_path)
    await registry.stop(1)


async def test_start_and_stop_reach_every_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = FakeEngine()
    registry = Registry({"a": FAKE, "b": FAKE}, tmp_path, engines={"b": given})
    await registry.start()
    await asyncio.gather(registry.load("a"), registry.load("b"))
    assert given.stats().state == "ready"
    assert [s.state for s in registry.stats().values()] == ["ready", "ready"]
    await registry.stop(1)
    assert [s.state for s in registry.stats().values()] == ["unloaded", "unloaded"]
    assert entries(tmp_path) == []


class Unloadable(FakeEngine):
    async def start(self) -> None:
        raise LoadFailed("it is made of stone", "the last line")


async def test_one_engine_that_fails_hinders_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry({"a": FAKE, "b": FAKE}, tmp_path, engines={"a": Unloadable()})
    with caplog.at_level(logging.ERROR):
        await registry.start()
        with pytest.raises(LoadFailed):
            await registry.load("a")
        await registry.load("b")
    assert registry.stats()["b"].state == "ready"
    assert "it is made of stone" in caplog.text
    assert "the last line" in caplog.text
    await registry.stop(1)


class Broken(FakeEngine):
    async def start(self) -> None:
        raise OSError("no more processes")


async def test_what_nobody_foresaw_is_said_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry({"a": FAKE, "b": FAKE}, tmp_path, engines={"a": Broken()})
    with caplog.at_level(logging.ERROR):
        await registry.start()
        with pytest.raises(OSError, match="no more processes"):
            await registry.load("a")
        await registry.load("b")
    assert "a: could not be started" in caplog.text
    assert "no more processes" in caplog.text
    assert registry.stats()["b"].state == "ready"
    await registry.stop(1)


async def test_new_models_are_loaded_as_at_the_start_and_removed_ones_go_when_they_are_idle(
    tmp_path: Path,
) -> None:
    there = replace(FAKE, preload=True)
    on_demand = replace(FAKE, preload=False)
    registry = Registry({"old": there}, tmp_path, limits=ResidencyLimits(preload=()))
    await registry.start()
    await registry.load("old")
    old = registry.get("old")
    async with aclosing(old.generate(GenerateRequest(TextPrompt("one two three")))) as deltas:
        await anext(deltas)
        changes = registry.reload({"new": there, "later": on_demand, "given": FAKE})
        assert (changes.added, changes.removed) == (("new", "later", "given"), ("old",))
        assert old.stats().state == "ready"  # somebody is inside
        states = {name: one.state for name, one in registry.stats().items()}
        assert states == {"new": "loading", "later": "unloaded", "given": "unloaded"}
    assert old.stats().state == "unloaded"
    await registry.stop(1)


async def test_a_long_temporary_folder_does_not_keep_a_worker_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)  # no socket's name may be as long as this
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    (tmp_path / "m.gguf").touch()
    settings = ModelSettings(id="m", kind="chat", source="file:m.gguf")
    registry = Registry({"m": settings}, tmp_path, base=tmp_path)
    with pytest.raises(LoadFailed, match=r"m\.gguf"):  # said by the worker: it was reached
        await registry.load("m")
    await registry.stop(1)
    assert entries(long) == []


class NeverReady(FakeEngine):
    async def start(self) -> None:
        await asyncio.Event().wait()


async def test_stop_does_not_wait_for_one_that_is_starting(tmp_path: Path) -> None:
    registry = Registry({"a": FAKE}, tmp_path, engines={"a": NeverReady()})
    await registry.start()
    await registry.stop(60)
