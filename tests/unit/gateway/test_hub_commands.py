"""jurat pull, rm and models, with the real client and a small hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import cli, hub_commands
from models.hub import CHUNK_BYTES
from tests.hub_cache import Cache, content, use_hub
from tests.hub_server import FakeHub, Fault, Repository, serve_hub

SIZE = 2 * CHUNK_BYTES
TOKEN = "hf_verySecretToken"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serve_hub() as hub:
        files = {"m-Q8_0.gguf": content(SIZE), "m-Q4_0.gguf": content(3000)}
        hub.repositories["org/tiny"] = Repository(files)
        yield hub


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A gateway.toml in the folder where the commands run, and two models at the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    (tmp_path / "configs" / "models").mkdir(parents=True)
    (tmp_path / "configs" / "ensembles").mkdir()
    (tmp_path / "configs" / "gateway.toml").write_text('[retrieval]\nembedder = "fake"\n')
    write(tmp_path, "fake", kind="fake", source="")
    write(tmp_path, "tiny", quant="Q8_0", aliases=["little"])
    return use_hub(hub, tmp_path, monkeypatch)


def write(folder: Path, name: str, **settings: object) -> None:
    table = {"id": name, "kind": "chat", "source": "hf:org/tiny", **settings}
    adapters = table.pop("lora", [])
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    lines += [f"[[lora]]\nsource = {json.dumps(each)}" for each in adapters]  # type: ignore[attr-defined]
    (folder / "configs" / "models" / f"{name}.toml").write_text("\n".join(lines))


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = cli.main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_pull_says_where_a_model_is_and_shows_a_bar(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "pull", "tiny")
    assert status == 0
    assert "hf:org/tiny:Q8_0: fetched 2.10 MB" in out
    assert "m-Q8_0.gguf" in err
    assert "2.1/2.1 MB" in err
    assert "nothing to fetch" in run(capsys, "pull", "little")[1]  # by its alias


def test_pull_takes_a_precision_and_a_source(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "pull", "tiny:q4_0", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["files"] == ["m-Q4_0.gguf"]
    again = json.loads(run(capsys, "pull", "hf:org/tiny/m-Q4_0.gguf", "--json")[1])
    assert again["fetched"] == 0


def test_adapters_come_and_go_with_their_model(
    hub: FakeHub, cache: Cache, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = {"tone.gguf": content(500), "law.gguf": content(600, seed=2)}
    hub.repositories["org/adapters"] = Repository(files)
    tone, law = ("hf:org/adapters/tone.gguf", "hf:org/adapters/law.gguf")
    write(tmp_path, "lawyer", quant="Q8_0", lora=[tone, law])
    write(tmp_path, "poet", quant="Q4_0", lora=[tone])
    told = run(capsys, "pull", "lawyer")[1].splitlines()
    assert [line.split(": ")[0] for line in told] == [tone, law, "hf:org/tiny:Q8_0"]
    again = json.loads(run(capsys, "pull", "lawyer", "--json")[1])
    assert again["source"] == "hf:org/tiny:Q8_0"
    assert [each["source"] for each in again["adapters"]] == [tone, law]
    run(capsys, "pull", "poet")
    assert "lawyer, poet of the catalog use" in run(capsys, "rm", tone)[2]
    updated = json.loads(run(capsys, "models", "update", "poet", "--json")[1])["models"]
    assert [each["source"] for each in updated] == [tone, "hf:org/tiny:Q4_0"]
    rows = json.loads(run(capsys, "models", "--json")[1])["models"]
    assert {row["id"]: row["bytes"] for row in rows if row["here"]}["lawyer"] == SIZE + 1100
    # "tiny" is the same file of the same model, so another's use is named and nothing is deleted.
    assert "tiny of the catalog uses" in run(capsys, "rm", "lawyer")[2]
    (tmp_path / "configs" / "models" / "tiny.toml").unlink()
    assert json.loads(run(capsys, "rm", "lawyer", "--json")[1])["freed"] == SIZE + 600
    here = {
        row["id"] for row in json.loads(run(capsys, "models", "--json")[1])["models"] if row["here"]
    }
    assert "poet" in here
    assert "lawyer" not in here


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["pull", "tyny"], "There is no model 'tyny'. Did you mean 'tiny'?"),
        (["pull", "fake"], "nothing to download"),
        (["pull", "hf:org"], "hf:ORG/REPO"),
        (["pull", "hf:org/tiny:Q2_K"], "It has Q4_0, Q8_0"),
        (["rm", "tiny"], "Nothing of hf:org/tiny:Q8_0 is on this machine"),
        (["models", "update", "nope"], "There is no model 'nope'"),
    ],
)
def test_what_is_wrong_is_one_line(
    cache: Cache, capsys: pytest.CaptureFixture[str], argv: list[str], says: str
) -> None:
    status, out, err = run(capsys, *argv)
    assert (status, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_data_folder_that_cannot_be_written_is_named(
    cache: Cache, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    status, _, err = run(capsys, "pull", "tiny")
    assert status == 1
    assert f"{tmp_path}/state" in err
    assert err.count("\n") == 1


def test_the_token_of_a_file_is_used_and_never_printed(
    hub: FakeHub,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.repositories["org/tiny"].token = TOKEN
    assert "HF_TOKEN_FILE" in run(capsys, "pull", "tiny")[2]
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "token"))
    hub.faults = [Fault("/cdn/", status=403)]  # says back what it was sent
    said = [run(capsys, "pull", "tiny"), run(capsys, "pull", "tiny"), run(capsys, "models")]
    assert [status for status, _, _ in said] == [1, 0, 0]
    assert TOKEN not in str(said)
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "lost"))
    status, _, err = run(capsys, "pull", "tiny:Q4_0")
    assert status == 1
    assert f"HF_TOKEN_FILE: {tmp_path}/lost" in err


def test_ctrl_c_ends_a_pull_and_what_came_stays(
    cache: Cache, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as once:
        once.setattr(hub_commands, "fetch", interrupted)
        status, out, err = run(capsys, "pull", "tiny")
    assert (status, out) == (130, "")
    assert "pull again to go on" in err


def test_rm_deletes_a_models_files_and_says_what_was_freed(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "pull", "tiny")
    run(capsys, "pull", "tiny:Q4_0")
    freed = json.loads(run(capsys, "rm", "tiny", "--json")[1])
    assert freed["freed"] == SIZE
    assert [path.stat().st_size for path in cache.blobs()] == [3000]
    assert "3.00 KB freed" in run(capsys, "rm", "tiny:Q4_0")[1]
    assert list(cache.hub_dir.glob("models--*")) == []
    assert list(cache.data_dir.rglob("*.json")) == []


def test_rm_refuses_what_another_model_of_the_catalog_uses(
    cache: Cache, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path, "twin", source="hf:org/tiny/m-Q8_0.gguf")
    run(capsys, "pull", "tiny")
    run(capsys, "pull", "twin")
    for name, user in (("tiny", "twin"), ("twin", "tiny"), ("hf:org/tiny:Q8_0", "tiny, twin")):
        status, _, err = run(capsys, "rm", name)
        assert status == 1
        assert user in err
    assert len(cache.blobs()) == 1
    (tmp_path / "configs" / "models" / "twin.toml").unlink()
    assert run(capsys, "rm", "tiny")[0] == 0


def test_models_lists_what_is_here(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "pull", "tiny")
    status, out, _ = run(capsys, "models")
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("tiny"))
    assert line.split() == ["tiny", "chat", "yes", "2.10", "MB", "1" * 12, "hf:org/tiny", "Q8_0"]
    rows = json.loads(run(capsys, "models", "list", "--json")[1])["models"]
    row = next(row for row in rows if row["id"] == "tiny")
    assert (row["here"], row["bytes"], row["revision"]) == (True, SIZE, "1" * 40)
    run(capsys, "rm", "tiny")
    assert "no" in run(capsys, "models")[1].split()


def test_update_fetches_the_newest_commit_and_rm_then_deletes_both(
    hub: FakeHub, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No model of the catalog was pulled" in run(capsys, "models", "update")[1]
    run(capsys, "pull", "tiny")
    assert "tiny is up to date" in run(capsys, "models", "update")[1]
    newer = Repository({"m-Q8_0.gguf": content(SIZE, seed=5)}, commit="2" * 40)
    hub.repositories["org/tiny"] = newer
    assert (
        "tiny has changed: hf:org/tiny:Q8_0 at 222222222222"
        in run(capsys, "models", "update", "tiny")[1]
    )
    assert len(cache.blobs()) == 2
    assert json.loads(run(capsys, "rm", "tiny", "--json")[1])["freed"] == 2 * SIZE
    assert cache.blobs() == []
