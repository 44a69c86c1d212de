"""Pulls with the hub's real client from a small hub on this machine."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from huggingface_hub import constants

from models import downloads
from models.downloads import pull
from models.errors import DownloadCode, DownloadFailed, NotDownloaded
from models.hub import CHUNK_BYTES, Hub
from models.hub_cache import find_record
from models.hub_names import parse
from models.pull_events import Progress, Pulled, PullTask
from models.settings import ModelSettings
from models.sources import locate
from tests.hub_cache import Cache, content, use_hub
from tests.hub_server import FakeHub, Fault, Repository, serve_hub

TOKEN = "hf_verySecretToken"
SIZE = 4 * CHUNK_BYTES + 17
GGUF = "model-Q4_K_M.gguf"
SOURCE = "hf:org/tiny:Q4_K_M"
CHAT = ModelSettings(id="tiny", kind="chat", source="hf:org/tiny")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serve_hub() as hub:
        hub.repositories["org/tiny"] = Repository({GGUF: content(SIZE), "README.md": b"# tiny"})
        yield hub


@pytest.fixture
def cache(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return use_hub(hub, tmp_path, monkeypatch)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's pauses before it asks again, in seconds; they are not waited for."""
    slept: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", slept.append)
    return slept


def failure(cache: Cache, code: DownloadCode, source: str = SOURCE, **options: Any) -> str:
    """The message of a pull that fails."""
    with pytest.raises(DownloadFailed) as raised:
        cache.pull(source, **options)
    assert raised.value.code == code
    # Whoever logs the error with its traceback logs every error in its chain.
    chain: list[BaseException] = [raised.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert TOKEN not in " ".join(map(str, chain))
    return str(raised.value)


def test_a_file_is_fetched_verified_and_found(hub: FakeHub, cache: Cache) -> None:
    with pytest.raises(NotDownloaded, match="jurat pull tiny"):
        locate(CHAT, Path(), cache.data_dir)
    done = cache.pull(SOURCE)
    assert Path(done.path).read_bytes() == content(SIZE)
    assert (done.bytes, done.fetched, done.files) == (SIZE, SIZE, [GGUF])
    assert done.revision == hub.repositories["org/tiny"].commit
    assert locate(CHAT, Path(), cache.data_dir) == Path(done.path)
    # Where every tool of that hub looks for it, and nothing else beside it.
    assert [path.name for path in cache.blobs()] == [hashlib.sha256(content(SIZE)).hexdigest()]


def test_progress_tells_bytes_and_ends_at_the_whole(cache: Cache) -> None:
    *steps, done = cache.events(SOURCE)
    assert isinstance(done, Pulled)
    assert all(isinstance(step, Progress) for step in steps)
    sizes = [step.done for step in steps if isinstance(step, Progress)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == SIZE
    assert {step.total for step in steps if isinstance(step, Progress)} == {SIZE}


def test_rate_and_time_left_are_of_the_last_seconds() -> None:
    now = iter([0.0, 1.0, 2.0, 12.0])
    file = downloads.RemoteFile(path="m", size=1000, blob="0")
    meter = downloads._Meter([file], set(), lambda: next(now))
    said = [meter.after("m", done, "downloading") for done in (0, 100, 200, 300)]
    assert [s and (s.bytes_per_second, s.seconds_left) for s in said] == [
        (0.0, None),
        (100.0, 9.0),
        (100.0, 8.0),
        (10.0, 70.0),
    ]


@pytest.mark.usefixtures("no_pauses")
def test_a_connection_cut_in_the_middle_goes_on_from_there(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/cdn/", cut_at=SIZE // 2)]
    done = cache.pull(SOURCE)
    assert Path(done.path).read_bytes() == content(SIZE)
    first, second = hub.bytes_asked(GGUF)
    assert first == ""
    assert second == f"bytes={SIZE // 2 // CHUNK_BYTES * CHUNK_BYTES}-"


def test_a_pull_that_was_ended_goes_on_where_it_was(hub: FakeHub, cache: Cache) -> None:
    release = threading.Event()
    hub.faults = [Fault("/cdn/", wait=release)]
    with closing(pull(parse(SOURCE), cache.data_dir, Hub())) as events:
        first = next(events)
    release.set()  # the thread ends at its next bytes
    assert isinstance(first, Progress)
    hub.requests.clear()
    done = cache.pull(SOURCE)
    assert Path(done.path).read_bytes() == content(SIZE)
    assert done.fetched < SIZE
    assert hub.bytes_asked(GGUF)[0].startswith("bytes=")
    # Wherever `main` may be by now, an attempt stays with the commit that it began with.
    listed = [path for _, path, _ in hub.requests if path.startswith("/api/models")]
    assert listed == [f"/api/models/org/tiny/revision/{done.revision}"]


def test_a_file_with_wrong_bytes_is_deleted_named_and_not_used(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/cdn/", wrong=True)]
    said = failure(cache, "checksum")
    assert GGUF in said
    assert hashlib.sha256(content(SIZE)).hexdigest() in said
    assert cache.blobs() == []
    with pytest.raises(NotDownloaded):
        locate(CHAT, Path(), cache.data_dir)
    assert cache.pull(SOURCE).fetched == SIZE  # and the next attempt is a new one


def test_small_files_are_verified_too(hub: FakeHub, cache: Cache) -> None:
    hub.repositories["org/small"] = Repository({"m-Q8_0.gguf": b"GGUF"})
    hub.faults = [Fault("/cdn/", wrong=True)]
    assert "m-Q8_0.gguf" in failure(cache, "checksum", "hf:org/small:Q8_0")
    assert Path(cache.pull("hf:org/small:Q8_0").path).read_bytes() == b"GGUF"


def test_a_private_repository_says_how_to_give_a_token(hub: FakeHub, cache: Cache) -> None:
    hub.repositories["org/tiny"].token = TOKEN
    said = failure(cache, "access_denied")
    assert f"{hub.url}/org/tiny" in said
    assert "HF_TOKEN_FILE" in said
    assert "No token is set" in said
    assert "may not read it" in failure(cache, "access_denied", token="hf_other")
    assert cache.pull(SOURCE, token=TOKEN).bytes == SIZE


def test_a_gated_repository_says_where_to_accept_the_licence(hub: FakeHub, cache: Cache) -> None:
    hub.repositories["org/tiny"].gated = True
    said = failure(cache, "access_denied", token=TOKEN)
    assert f"Accept its licence at {hub.url}/org/tiny" in said
    assert "HF_TOKEN" in said


def test_the_token_goes_to_the_hub_alone_and_into_no_message(
    hub: FakeHub, cache: Cache, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    hub.repositories["org/tiny"].token = TOKEN
    hub.faults = [Fault("/api/", status=401), Fault("/api/", status=500, times=1)]
    failure(cache, "access_denied", token=TOKEN)  # the hub says back what it was sent
    hub.faults = [Fault("/cdn/", status=403), Fault("/cdn/", status=418)]
    failure(cache, "access_denied", token=TOKEN)
    failure(cache, "unreachable", token=TOKEN)
    cache.pull(SOURCE, token=TOKEN)
    said = caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in said
    assert {given for at, given in hub.tokens if "/cdn/" in at} == {""}
    assert TOKEN not in "".join(path.read_text() for path in cache.data_dir.rglob("*.json"))


@pytest.mark.parametrize("where", ["/api/models", "/cdn/", "/resolve/"])
def test_asked_to_come_back_it_does(
    hub: FakeHub, cache: Cache, no_pauses: list[float], where: str
) -> None:
    hub.faults = [Fault(where, status=429, headers={"retry-after": "7"})]
    assert cache.pull(SOURCE).bytes == SIZE
    assert no_pauses == [8.0]  # the client adds a second


def test_asked_to_come_back_tomorrow_it_says_so(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/cdn/", status=429, headers={"retry-after": "86400"})]
    assert "86400 seconds" in failure(cache, "rate_limited")


def test_asked_again_and_again_it_gives_up(
    hub: FakeHub, cache: Cache, no_pauses: list[float]
) -> None:
    hub.faults = [Fault("/api/", status=429, headers={"retry-after": "2"}, times=100)]
    assert "429" in failure(cache, "rate_limited")
    assert no_pauses == [3.0] * 5


def test_a_disk_without_room_is_said_before_the_first_byte(hub: FakeHub, cache: Cache) -> None:
    said = failure(cache, "disk_full", free=lambda folder: 1_000_000)
    assert f"{SIZE / 1e9:.2f} GB are still to come" in said
    assert str(cache.hub_dir) in said
    assert hub.bytes_asked(GGUF) == []


def test_what_has_come_needs_no_room_again(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/cdn/", wait=(release := threading.Event()))]
    with closing(pull(parse(SOURCE), cache.data_dir, Hub())) as events:
        next(events)
    release.set()
    assert cache.pull(SOURCE, free=lambda folder: SIZE - CHUNK_BYTES).bytes == SIZE


def test_a_disk_that_fills_up_keeps_what_came(
    hub: FakeHub, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 2 * CHUNK_BYTES
    write = io.BufferedWriter.write

    def until_full(self: Any, chunk: bytes) -> int:
        if self.tell() + len(chunk) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, chunk)

    with monkeypatch.context() as full:
        full.setattr(downloads._Part, "write", until_full)
        assert "is full" in failure(cache, "disk_full")
    assert cache.pull(SOURCE).fetched == SIZE - room


def test_a_split_model_is_fetched_whole_and_its_first_part_is_loaded(
    hub: FakeHub, cache: Cache
) -> None:
    parts = {f"q/m-Q8_0-0000{n}-of-00003.gguf": content(2000 + n, seed=n) for n in (1, 2, 3)}
    hub.repositories["org/split"] = Repository({**parts, "m-Q4_K_M.gguf": b"GGUF"})
    done = cache.pull("hf:org/split:q8_0")
    assert done.files == list(parts)
    assert Path(done.path).name == "m-Q8_0-00001-of-00003.gguf"
    for name, body in parts.items():
        assert (Path(done.path).parent / Path(name).name).read_bytes() == body
    assert len(cache.blobs()) == 3


def test_a_whole_sentence_transformers_repository(hub: FakeHub, cache: Cache) -> None:
    files = {
        "modules.json": b"[]",
        "config.json": b"{}",
        "1_Pooling/config.json": b"{}",
        "model.safetensors": content(5000),
        "onnx/model.onnx": content(6000),
        "pytorch_model.bin": content(7000),
    }
    hub.repositories["org/st"] = Repository(files)
    model = ModelSettings(id="st", kind="embedding", source="hf:org/st")
    done = cache.pull(parse(model.source, model))
    folder = locate(model, Path(), cache.data_dir)
    assert str(folder) == done.path
    assert (folder / "1_Pooling" / "config.json").read_bytes() == b"{}"
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert here == set(files) - {"onnx/model.onnx", "pytorch_model.bin"}


def test_a_repositorys_only_file_is_found_again(hub: FakeHub, cache: Cache) -> None:
    hub.repositories["org/only"] = Repository({"m-MXFP4.gguf": content(2000)})
    model = ModelSettings(id="only", kind="chat", source="hf:org/only")
    done = cache.pull(parse(model.source, model))
    assert done.source == "hf:org/only"
    assert str(locate(model, Path(), cache.data_dir)) == done.path


def test_one_repository_can_be_a_folder_for_one_and_a_file_for_another(
    hub: FakeHub, cache: Cache
) -> None:
    files = {"config.json": b"{}", "model.safetensors": content(2000), "m-F16.gguf": content(1500)}
    hub.repositories["org/both"] = Repository(files)
    chat = ModelSettings(id="c", kind="chat", source="hf:org/both")
    embedding = ModelSettings(id="e", kind="embedding", source="hf:org/both")
    cache.pull(parse(embedding.source, embedding))
    with pytest.raises(NotDownloaded):
        locate(chat, Path(), cache.data_dir)
    cache.pull(parse("hf:org/both:F16"))
    assert locate(embedding, Path(), cache.data_dir).is_dir()


@pytest.mark.usefixtures("no_pauses")
def test_a_hub_that_begins_at_the_beginning_is_taken_at_its_word(
    hub: FakeHub, cache: Cache
) -> None:
    hub.faults = [Fault("/cdn/", cut_at=SIZE // 2), Fault("/cdn/", whole=True)]
    done = cache.pull(SOURCE)
    assert Path(done.path).read_bytes() == content(SIZE)


def test_a_model_stays_at_its_commit_until_it_is_updated(hub: FakeHub, cache: Cache) -> None:
    old = cache.pull(SOURCE)
    newer = Repository({GGUF: content(3000, seed=9)}, commit="2" * 40)
    hub.repositories["org/tiny"] = newer
    assert cache.pull(SOURCE).revision == old.revision
    assert str(locate(CHAT, Path(), cache.data_dir)) == old.path
    new = cache.pull(SOURCE, update=True)
    assert new.revision == newer.commit
    assert locate(CHAT, Path(), cache.data_dir).read_bytes() == content(3000, seed=9)
    assert Path(old.path).exists()  # a gateway that runs may still read it
    record = find_record(parse(SOURCE), cache.data_dir)
    assert record is not None
    assert {file.commit for file in record.former} == {old.revision}


def test_what_another_tool_fetched_is_not_fetched_again(
    hub: FakeHub, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    theirs = hf_hub_download("org/tiny", GGUF, cache_dir=cache.hub_dir)
    assert str(locate(CHAT, Path(), cache.data_dir)) == theirs
    hub.requests.clear()
    done = cache.pull(SOURCE)
    assert (done.path, done.fetched) == (theirs, 0)
    assert hub.requests == []


def test_half_of_a_sharded_folder_is_not_a_model(hub: FakeHub, cache: Cache) -> None:
    from huggingface_hub import hf_hub_download

    shards = {f"model-0000{n}-of-00002.safetensors": content(2000, seed=n) for n in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, **shards}
    hub.repositories["org/st"] = Repository(files)
    model = ModelSettings(id="st", kind="embedding", source="hf:org/st")
    for name in list(files)[:3]:
        hf_hub_download("org/st", name, cache_dir=cache.hub_dir)
    with pytest.raises(NotDownloaded):
        locate(model, Path(), cache.data_dir)
    hf_hub_download("org/st", list(files)[3], cache_dir=cache.hub_dir)
    assert locate(model, Path(), cache.data_dir).is_dir()


def test_offline_what_is_here_works_and_what_is_not_is_named(
    hub: FakeHub, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cache.pull(SOURCE)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert cache.pull(SOURCE).path == done.path
    assert "HF_HUB_OFFLINE" in failure(cache, "offline", "hf:org/tiny:Q8_0")
    assert "HF_HUB_OFFLINE" in failure(cache, "offline", update=True)
    assert hub.requests == []


def test_a_hub_that_is_not_there_is_named(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in failure(cache, "unreachable")


def test_a_repository_that_is_not_there_is_named(cache: Cache) -> None:
    said = failure(cache, "no_such_repository", "hf:org/none:Q8_0", token=TOKEN)
    assert "/org/none" in said
    failure(cache, "access_denied", "hf:org/none:Q8_0")  # unsigned, the hub does not say


def test_something_else_that_answers_is_no_hub(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/api/", status=200)]
    assert "model hub" in failure(cache, "unreachable")


def pulling(cache: Cache, hub: FakeHub) -> subprocess.Popen[bytes]:
    """A process that pulls, as the gateway starts it. It ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "models.pull_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **cache.environment(hub)},
    )
    task = PullTask(reference=parse(SOURCE), data_dir=str(cache.data_dir))
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(task) + b"\n")
    process.stdin.flush()
    return process


def test_two_processes_share_one_download(hub: FakeHub, cache: Cache) -> None:
    release = threading.Event()
    hub.faults = [Fault("/cdn/", wait=release)]
    with pulling(cache, hub) as first, pulling(cache, hub) as second:
        try:
            assert first.stdout is not None
            assert second.stdout is not None
            said = [first.stdout.readline(), second.stdout.readline()]
            states = {json.loads(line)["state"] for line in said}
            assert states == {"downloading", "waiting"}
            release.set()
            ends = [json.loads(list(process.stdout)[-1]) for process in (first, second)]  # type: ignore[arg-type]
        finally:
            first.kill()
            second.kill()
    assert {end["event"] for end in ends} == {"done"}
    assert ends[0]["path"] == ends[1]["path"]
    assert sorted(end["fetched"] for end in ends) == [0, SIZE]
    assert hub.bytes_asked(GGUF) == [""]


def test_a_process_ends_with_its_input_and_what_came_stays(hub: FakeHub, cache: Cache) -> None:
    hub.faults = [Fault("/cdn/", wait=threading.Event())]
    with pulling(cache, hub) as process:
        assert process.stdout is not None
        assert b"progress" in process.stdout.readline()
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 1
    assert cache.pull(SOURCE).fetched < SIZE
