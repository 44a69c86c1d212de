"""Files and uploads, through the official client and by hand."""

import errno
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from openai.types import FileObject, Upload

from gateway.settings import ServerSettings
from retrieval.blobs import Incoming
from tests.contract.serving import configuration, serve

LIMIT = 300_000


class Served(NamedTuple):
    url: str
    folder: Path
    alice: openai.OpenAI
    bob: openai.OpenAI
    http: httpx.Client  # as alice


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("files")
    found = configuration(
        folder,
        keys=("alice:key-a", "bob:key-b"),
        server=ServerSettings(max_upload_bytes=LIMIT),
    )
    with (
        serve(found) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as bob,
        httpx.Client(base_url=url, headers={"authorization": "Bearer key-a"}, timeout=20) as http,
    ):
        yield Served(url, folder / "state" / "files", alice, bob, http)


def strict(model: Any) -> Any:
    """The SDK takes any types; here they must be right."""
    return type(model).model_validate_json(model.to_json(), strict=True)


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_kept_listed_read_and_deleted(served: Served) -> None:
    content = b"The lamp is blue.\n" * 2000
    file = strict(
        served.alice.files.create(
            file=("lamp.txt", content),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    )
    assert (file.filename, file.bytes, file.purpose) == ("lamp.txt", len(content), "assistants")
    assert file.expires_at == file.created_at + 3600
    assert served.alice.files.retrieve(file.id) == file
    assert served.alice.files.wait_for_processing(file.id) == file
    assert served.alice.files.content(file.id).read() == content
    assert hashlib.sha256(content).hexdigest() in contents(served.folder)
    twin = served.alice.files.create(file=("twin.txt", content), purpose="user_data")
    assert "expires_at" not in served.http.get(f"/v1/files/{twin.id}").json()
    deleted = strict(served.alice.files.delete(file.id))
    assert (deleted.id, deleted.deleted) == (file.id, True)
    assert served.alice.files.content(twin.id).read() == content
    served.alice.files.delete(twin.id)
    assert hashlib.sha256(content).hexdigest() not in contents(served.folder)
    with pytest.raises(openai.NotFoundError) as caught:
        served.alice.files.retrieve(file.id)
    assert (caught.value.code, caught.value.param) == ("file_not_found", "file_id")


async def test_the_async_client(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="key-a") as client:
        file = await client.files.create(file=("a.md", b"# A"), purpose="assistants")
        assert (await client.files.wait_for_processing(file.id)).status == "processed"
        assert (await client.files.content(file.id)).read() == b"# A"
        await client.files.delete(file.id)


def test_lists_are_paged_in_the_order_of_creation(served: Served) -> None:
    made = [
        served.alice.files.create(file=(f"{n}.txt", b"x"), purpose="vision").id for n in range(5)
    ]
    assert [file.id for file in served.alice.files.list(purpose="vision")] == made[::-1]
    page = served.alice.files.list(purpose="vision", order="asc", limit=2)
    assert page.has_more
    assert [file.id for file in page] == made  # iterating goes on to the next pages
    raw = served.http.get("/v1/files?purpose=vision&order=asc&limit=2").json()
    assert (raw["first_id"], raw["last_id"], raw["has_more"]) == (made[0], made[1], True)
    # Deleting what a page showed does not lose the place.
    left = [served.alice.files.delete(file.id).id for file in served.alice.files.list(limit=2)]
    assert set(made) <= set(left)
    assert served.http.get("/v1/files").json() == {
        "object": "list",
        "data": [],
        "first_id": "",
        "last_id": "",
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("limit=١", "limit"),
        ("order=up", "order"),
        ("after=file-nope", "after"),
        ("after=%00", "after"),
    ],
)
def test_a_list_that_cannot_be_is_a_400(served: Served, query: str, param: str) -> None:
    answer = served.http.get(f"/v1/files?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\secrets\\notes.txt", "notes.txt"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("حساب.txt", "حساب.txt"),
        ("n" * 300 + ".txt", "n" * 251 + ".txt"),
    ],
)
def test_names_are_made_harmless(served: Served, given: str, kept: str) -> None:
    file = served.alice.files.create(file=(given, b"x"), purpose="assistants")
    assert file.filename == kept
    served.alice.files.delete(file.id)


def form(*parts: tuple[str, bytes], boundary: bytes = b"b") -> bytes:
    """Parts with what stands in their Content-Disposition after `form-data;`."""
    body = b""
    for disposition, content in parts:
        header = f"Content-Disposition: form-data; {disposition}".encode()
        body += b"--" + boundary + b"\r\n" + header + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


FILE = ('name="file"; filename="a.txt"', b"text")
PURPOSE = ('name="purpose"', b"assistants")
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("filename*=utf-8''%E6%96%87.txt", "文.txt"),  # as older clients send it
        ('filename="a\x00b\x1b[31m.txt"', "ab[31m.txt"),
        ('filename="%0D%0Aa.txt"', "a.txt"),
    ],
)
def test_names_sent_by_hand(served: Served, given: str, kept: str) -> None:
    body = form((f'name="file"; {given}', b"x"), PURPOSE)
    file = served.http.post("/v1/files", content=body, headers=MULTIPART).json()
    assert file["filename"] == kept
    served.alice.files.delete(file["id"])


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (form(PURPOSE), "file", "missing_required_parameter"),
        (form(FILE), "purpose", "missing_required_parameter"),
        (form(FILE, ('name="purpose"', b"fun")), "purpose", "invalid_value"),
        (form(FILE, ('name="purpose"', b"\xff")), "purpose", "invalid_value"),
        (form(FILE, FILE, PURPOSE), "file", "invalid_value"),
        (form(('name="file"', b"text"), PURPOSE), "file", "invalid_value"),
        (form(('name="file"; filename=".."', b"text"), PURPOSE), "file", "invalid_value"),
        (
            form(FILE, PURPOSE, ('name="expires_after[seconds]"', b"5")),
            "expires_after",
            "invalid_value",
        ),
        (form(FILE, PURPOSE)[:-6], None, "invalid_multipart"),
        (b"", None, "invalid_multipart"),
        (b"{}", None, "invalid_multipart"),
    ],
)
def test_a_form_that_is_not_right(
    served: Served, body: bytes, param: str | None, code: str
) -> None:
    before = contents(served.folder)
    answer = served.http.post("/v1/files", content=body, headers=MULTIPART)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert contents(served.folder) == before


def test_a_name_in_another_encoding_is_refused_in_words(served: Served) -> None:
    body = form(FILE, PURPOSE).replace(b'filename="', b'filename="\xff')
    answer = served.http.post("/v1/files", content=body, headers=MULTIPART)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "The body is not a valid multipart form: the head of a part is not valid UTF-8.",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data"},
        {},
        {**MULTIPART, "content-encoding": "gzip"},
    ],
)
def test_another_content_type_is_a_400(served: Served, headers: dict[str, str]) -> None:
    answer = served.http.post("/v1/files", content=form(FILE, PURPOSE), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"].startswith("invalid_content_")


def test_a_file_that_is_too_large_is_a_413_said_or_not(served: Served) -> None:
    before = contents(served.folder)
    whole = served.alice.files.create(file=("a.txt", b"x" * LIMIT), purpose="assistants")
    assert whole.bytes == LIMIT
    served.alice.files.delete(whole.id)
    with pytest.raises(openai.APIStatusError) as caught:
        served.alice.files.create(file=("a.txt", b"x" * (LIMIT + 1)), purpose="assistants")
    assert (caught.value.status_code, caught.value.code) == (413, "file_too_large")

    def endless() -> Iterator[bytes]:
        yield form(FILE, PURPOSE)[:-9]
        for _ in range(50):
            yield b"x" * 65_536

    lying = served.http.post("/v1/files", content=endless(), headers=MULTIPART)
    assert lying.status_code == 413
    # By its length alone, before anything is sent.
    with socket.create_connection(served.url.removeprefix("http://").split(":")) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer key-a\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 2147483648\r\n\r\n"
        )
        assert connection.recv(20).startswith(b"HTTP/1.1 413")
    assert contents(served.folder) == before


def test_a_full_disk_is_said_to_be_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: Incoming, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents(served.folder)
    monkeypatch.setattr(Incoming, "write", full)
    answer = served.http.post("/v1/files", content=form(FILE, PURPOSE), headers=MULTIPART)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert answer.headers["x-should-retry"] == "false"
    assert contents(served.folder) == before


def test_a_client_that_goes_leaves_nothing(served: Served) -> None:
    before = contents(served.folder)
    with socket.create_connection(served.url.removeprefix("http://").split(":")) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer key-a\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 200000\r\n\r\n"
            + form(FILE)[:-9]
            + b"x" * 100_000
        )
        while contents(served.folder) == before:  # until it has begun to arrive
            served.http.get("/health")
    while contents(served.folder) != before:
        served.http.get("/health")


def test_nobody_sees_the_files_of_another(served: Served) -> None:
    file = served.alice.files.create(file=("a.txt", b"secret"), purpose="assistants")
    calls = (
        lambda one: served.bob.files.retrieve(one),
        lambda one: served.bob.files.content(one),
        lambda one: served.bob.files.delete(one),
    )
    for call in calls:
        told: list[Any] = []
        for wanted in (file.id, "file-000000000000000000000000"):
            with pytest.raises(openai.NotFoundError) as caught:
                call(wanted)
            told.append(str(caught.value.body).replace(wanted, "ID"))
        assert told[0] == told[1]
    assert served.bob.files.list().data == []
    with pytest.raises(openai.BadRequestError, match="not in this list"):
        served.bob.files.list(after=file.id)
    served.alice.files.delete(file.id)


def test_a_content_that_is_gone_is_a_404(served: Served) -> None:
    content = b"soon gone"
    file = served.alice.files.create(file=('a b"é.txt', content), purpose="assistants")
    answer = served.http.get(f"/v1/files/{file.id}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "filename*=UTF-8''a%20b" in answer.headers["content-disposition"]
    sha256 = hashlib.sha256(content).hexdigest()
    (served.folder / sha256[:2] / sha256).unlink()
    gone = served.http.get(f"/v1/files/{file.id}/content")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "file_not_found")
    served.alice.files.delete(file.id)


def test_an_upload_in_parts(served: Served, tmp_path: Path) -> None:
    pieces = [b"one " * 5000, b"two " * 5000, b"three"]
    whole = b"".join(pieces)
    upload = strict(
        served.alice.uploads.create(
            bytes=len(whole), filename="dir/whole.txt", mime_type="text/plain", purpose="assistants"
        )
    )
    assert (upload.status, upload.filename) == ("pending", "whole.txt")
    assert upload.expires_at == upload.created_at + 3600
    parts = [
        strict(served.alice.uploads.parts.create(upload.id, data=piece))
        for piece in reversed(pieces)
    ]
    ids = [part.id for part in reversed(parts)]

    def refused(param: str, **given: Any) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            served.alice.uploads.complete(upload.id, **given)
        assert caught.value.param == param

    refused("part_ids[0]", part_ids=["part_nope"])
    refused("part_ids", part_ids=ids[:2])
    refused("part_ids", part_ids=[*ids, ids[0]])
    refused("md5", part_ids=ids, md5="0" * 32)
    with pytest.raises(openai.NotFoundError):
        served.bob.uploads.complete(upload.id, part_ids=ids)
    md5 = hashlib.md5(whole).hexdigest()
    done = strict(served.alice.uploads.complete(upload.id, part_ids=ids, md5=md5))
    assert done.status == "completed"
    assert isinstance(done.file, FileObject)
    assert served.alice.files.content(done.file.id).read() == whole
    with pytest.raises(openai.BadRequestError, match="completed already"):
        served.alice.uploads.parts.create(upload.id, data=b"more")
    served.alice.files.delete(done.file.id)
    assert contents(served.folder) == set()


def test_an_upload_given_up_or_too_large(served: Served, tmp_path: Path) -> None:
    upload = served.alice.uploads.create(
        bytes=4, filename="a.txt", mime_type="text/plain", purpose="assistants"
    )
    served.alice.uploads.parts.create(upload.id, data=b"abc")
    with pytest.raises(openai.BadRequestError, match="was to get 1 more bytes") as caught:
        served.alice.uploads.parts.create(upload.id, data=b"de")
    assert caught.value.param == "data"
    cancelled: Upload = strict(served.alice.uploads.cancel(upload.id))
    assert cancelled.status == "cancelled"
    assert contents(served.folder) == set()
    with pytest.raises(openai.APIStatusError) as caught:
        served.alice.uploads.create(
            bytes=LIMIT + 1, filename="a.txt", mime_type="text/plain", purpose="assistants"
        )
    assert (caught.value.status_code, caught.value.param) == (413, "bytes")
    with pytest.raises(openai.BadRequestError) as refused:
        served.alice.uploads.create(
            bytes=4, filename="..", mime_type="text/plain", purpose="assistants"
        )
    assert refused.value.param == "filename"
    path = tmp_path / "chunked.txt"
    path.write_bytes(b"0123456789" * 1000)
    done = served.alice.uploads.upload_file_chunked(
        file=path, mime_type="text/plain", purpose="assistants", part_size=3000
    )
    assert done.file is not None
    assert served.alice.files.content(done.file.id).read() == path.read_bytes()
    served.alice.files.delete(done.file.id)
