"""`jurat ingest`, `search` and `stores` against a gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from clients import ingest, search, stores
from tests.contract.conftest import Gateway
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
