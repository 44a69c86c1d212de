"""`jurat ingest`, `search` and `stores` against a gateway."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from clients import documents, ingest, search, stores
from tests.contract.conftest import Gateway
from tests.contract.serving import configuration, serve, wait_ready
from tests.unit.retrieval import sample_files


def run(
    command: Any, capsys: pytest.CaptureFixture[str], gateway: Gateway, *arguments: str
) -> tuple[int, Any]:
    status = command.main([*arguments, "--url", gateway.url, "--json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out) if printed.out else printed.err


def names(paths: list[str]) -> list[str]:
    return sorted(Path(path).name for path in paths)


def test_a_folder_is_kept_in_step(
    fake_gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("zero one")
    (folder / "sub" / "a.md").write_text("one two")
    (folder / "b.pdf").write_bytes(sample_files.pdf(["two zero"]))
    (folder / "c.bin").write_bytes(bytes(9))
    ingested = ("--store", "commands", str(folder))

    status, report = run(ingest, capsys, fake_gateway, *ingested)
    assert status == 1
    assert names(report["added"]) == ["a.md", "a.md", "b.pdf"]
    assert [Path(one["path"]).name for one in report["failed"]] == ["c.bin"]
    assert report["failed"][0]["reason"].startswith("the file is binary")

    (folder / "c.bin").unlink()
    (folder / "b.pdf").unlink()
    (folder / "a.md").write_text("two two")
    status, report = run(ingest, capsys, fake_gateway, *ingested)
    assert status == 0
    assert (names(report["replaced"]), names(report["deleted"])) == (["a.md"], ["b.pdf"])
    assert report["unchanged"] == [str(folder / "sub" / "a.md")]
    assert (report["added"], report["failed"]) == ([], [])

    status, report = run(ingest, capsys, fake_gateway, "--store", "commands", str(folder / "a.md"))
    assert report["unchanged"] == [str(folder / "a.md")]
    assert report["deleted"] == [], "only a whole folder says what is gone"

    status, found = run(search, capsys, fake_gateway, "two", "--store", "commands", "--k", "5")
    assert {result["text"] for result in found["results"]} == {"two two", "one two"}
    assert found["results"][0]["store"] == "commands"

    status, shown = run(stores, capsys, fake_gateway, "show", "commands")
    assert [file["status"] for file in shown["files"]] == ["completed"] * 2
    assert {file["filename"] for file in shown["files"]} == {"a.md"}
    status, listed = run(stores, capsys, fake_gateway)
    assert "commands" in {store["name"] for store in listed["stores"]}

    assert run(stores, capsys, fake_gateway, "delete", "commands")[0] == 0
    ids = {file["id"] for file in shown["files"]}
    assert not ids & {file.id for file in fake_gateway.client.files.list()}


def test_a_watch_outlives_a_gateway_that_is_away(
    fake_gateway: Gateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = 0
    run_once = ingest._Ingester.run

    def away_for_two(ingester: ingest._Ingester) -> Any:
        nonlocal runs
        runs += 1
        (tmp_path / f"{runs}.md").write_text(f"zero {runs}")
        if runs in (2, 3):
            raise openai.APIConnectionError(request=httpx.Request("GET", fake_gateway.url))
        if runs == 5:
            raise KeyboardInterrupt
        return run_once(ingester)

    monkeypatch.setattr(ingest, "_WATCH_S", 0)
    monkeypatch.setattr(ingest._Ingester, "run", away_for_two)
    monkeypatch.setattr(ingest._Ingester, "changed", lambda _: True)
    arguments = (str(tmp_path), "--store", "watched", "--watch", "--json")
    status = ingest.main([*arguments, "--url", fake_gateway.url])
    printed = capsys.readouterr()
    assert status == 130
    first, second = (json.loads(line) for line in printed.out.splitlines())
    assert names(first["added"]) == ["1.md"]
    assert names(second["added"]) == ["2.md", "3.md", "4.md"]
    assert printed.err.count("Trying again") == 1


def test_a_store_that_two_make_at_once_is_one(
    fake_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores_there = fake_gateway.client.vector_stores
    other = ""

    def nothing_yet(client: openai.OpenAI, name: str) -> None:
        nonlocal other
        other = stores_there.create(name=name).id  # after this one looked

    monkeypatch.setattr(documents, "find_store", nothing_yet)
    assert documents.open_store(fake_gateway.client, "twice").id == other
    assert [store.id for store in stores_there.list() if store.name == "twice"] == [other]
    stores_there.delete(other)


def test_stores_that_have_expired_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = configuration(tmp_path)
    (tmp_path / "a.md").write_text("zero one")
    with serve(found) as url, httpx.Client(base_url=url, timeout=20) as http:
        wait_ready(http)
        asked: Any = (capsys, SimpleNamespace(url=url))
        status, _ = run(ingest, *asked, "--store", "letters", str(tmp_path / "a.md"))
        assert status == 0
        ended = {"name": "letters", "expires_after": {"anchor": "last_active_at", "days": 1}}
        http.post("/v1/vector_stores", json=ended).raise_for_status()
        with closing(sqlite3.connect(found.data_dir / "retrieval.sqlite3")) as database, database:
            database.execute("UPDATE stores SET expires_at = created_at WHERE expires_days = 1")

        for arguments in ([], ["--store", "letters"]):
            status, answer = run(search, *asked, "zero", *arguments)
            assert [result["filename"] for result in answer["results"]] == ["a.md"]
        status, report = run(ingest, *asked, "--store", "letters", str(tmp_path / "a.md"))
        assert report["unchanged"] == [str(tmp_path / "a.md")]
        assert len(run(stores, *asked)[1]["stores"]) == 2, "they are still listed"

        assert run(stores, *asked, "delete", report["store"]["id"])[0] == 0
        status, report = run(ingest, *asked, "--store", "letters", str(tmp_path / "a.md"))
        assert (status, len(report["added"])) == (0, 1), "into a new one"


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        (ingest, ["/nonexistent"], "does not exist"),
        (search, ["x", "--store", "none such"], "There is no store 'none such'"),
        (search, [" "], "question is empty"),
        (stores, ["show"], "takes the name of a store"),
        (stores, ["delete", "none such"], "There is no store 'none such'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    command: Any,
    arguments: list[str],
    reason: str,
    fake_gateway: Gateway,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, said = run(command, capsys, fake_gateway, *arguments)
    assert status == 1
    assert reason in said
    assert said.count("\n") == 1
