"""A model hub on this machine: the part of the Hugging Face Hub's API that its client speaks.

`/api/models/REPO/revision/REV` lists files with their hashes; `/REPO/resolve/REV/PATH` answers HEAD
with the commit, the hash and the size, and redirects GET of large files to a second address, as the
hub does to its CDN. What can go wrong is a list of faults, each met once.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

__all__ = ["FakeHub", "Fault", "Repository", "serve_hub"]

LFS_FROM = 1024  # bytes; smaller files have git's hash and no sha256


@dataclass
class Repository:
    """Files of one commit."""

    files: dict[str, bytes]
    commit: str = "1" * 40
    token: str = ""  # that alone may read it
    gated: bool = False  # listed for everybody, read by nobody

    def blob(self, path: str) -> str:
        content = self.files[path]
        if len(content) >= LFS_FROM:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()

    def listing(self) -> dict[str, object]:
        def sibling(path: str) -> dict[str, object]:
            size, oid = len(self.files[path]), self.blob(path)
            found: dict[str, object] = {"rfilename": path, "size": size, "blobId": oid}
            if size >= LFS_FROM:
                found |= {"blobId": "0" * 40, "lfs": {"sha256": oid, "size": size}}
                found["lfs"] |= {"pointerSize": 130}  # type: ignore[operator]
            return found

        return {"sha": self.commit, "siblings": [sibling(path) for path in sorted(self.files)]}


@dataclass
class Fault:
    """Something that goes wrong with the first `times` requests whose path contains `where`."""

    where: str
    method: str = "GET"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None  # bytes of the body, then the connection breaks
    wrong: bool = False  # as many bytes, other ones
    whole: bool = False  # whatever range was asked for
    wait: threading.Event | None = None  # half of the body, then the other half after this
    times: int = 1


class FakeHub:
    """Repositories, faults to come, and the requests there were."""

    def __init__(self) -> None:
        self.url = ""
        self.cdn = ""  # the same server by another name, which must not see the token
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []  # method, path, range
        self.tokens: set[tuple[str, str]] = set()  # path, authorization
        self.half_sent = threading.Event()
        self._lock = threading.Lock()

    def bytes_asked(self, path: str) -> list[str]:
        """The ranges of the GETs of a file's content; "" is all of it."""
        return [span for method, at, span in self.requests if method == "GET" and "/cdn/" in at
                and at.endswith(path)]  # fmt: skip

    def fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.where in path:
                    fault.times -= 1
                    return fault
        return None


class _Requests(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((method, path, self.headers.get("range", "")))
        self.hub.tokens.add((path, self.headers.get("authorization", "")))
        fault = self.hub.fault(method, path)
        if fault is not None and fault.status:
            # Like a careless proxy, it says back what it was sent.
            said = f"no: {self.headers.get('authorization', '')}".encode()
            self._send(fault.status, said, {"x-error-message": said.decode(), **fault.headers})
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and parts[4:5] == ["revision"]:
            self._list("/".join(parts[2:4]), parts[5])
        elif parts[2:3] == ["resolve"]:
            self._resolve(method, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[0] == "cdn":
            repository = self.hub.repositories["/".join(parts[1:3])]
            self._content(repository.files["/".join(parts[3:])], fault)
        else:
            self._send(404, b"", {})

    def _allowed(self, name: str, revision: str, *, reading: bool) -> Repository | None:
        repository = self.hub.repositories.get(name)
        given = self.headers.get("authorization", "")
        if repository is None:
            # The hub tells nobody whether a repository that he may not see is there.
            self._send(404 if given else 401, b"", {"x-error-code": "RepoNotFound"})
        elif repository.token and given != f"Bearer {repository.token}":
            self._send(401, b"", {"x-error-code": "RepoNotFound"})
        elif repository.gated and reading:
            self._send(403, b"", {"x-error-code": "GatedRepo"})
        elif revision not in ("main", repository.commit):
            self._send(404, b"", {"x-error-code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _list(self, name: str, revision: str) -> None:
        if repository := self._allowed(name, revision, reading=False):
            self._send(200, json.dumps(repository.listing()).encode(), {})

    def _resolve(self, method: str, name: str, revision: str, path: str) -> None:
        repository = self._allowed(name, revision, reading=True)
        if repository is None:
            return
        if path not in repository.files:
            self._send(404, b"", {"x-error-code": "EntryNotFound"})
            return
        etag, size = repository.blob(path), len(repository.files[path])
        headers = {
            "x-repo-commit": repository.commit,
            "x-linked-etag": f'"{etag}"',
            "x-linked-size": str(size),
            "location": f"{self.hub.cdn}/cdn/{name}/{path}",
        }
        self._send(302, b"", headers)

    def _content(self, content: bytes, fault: Fault | None) -> None:
        span = "" if fault is not None and fault.whole else self.headers.get("range", "")
        begin = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        body = content[begin:]
        if fault is not None and fault.wrong:
            body = bytes(len(body))
        self.send_response(206 if span else 200)
        self.send_header("content-length", str(len(body)))
        if span:
            self.send_header("content-range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if fault is not None and fault.cut_at is not None:
            self.wfile.write(body[: fault.cut_at])
            self.close_connection = True
        elif fault is not None and fault.wait is not None:
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.hub.half_sent.set()
            fault.wait.wait(60)
            self.wfile.write(body[half:])
        else:
            self.wfile.write(body)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that was killed broke the connection


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """A hub on a free port."""
    hub = FakeHub()
    server = _Server(("127.0.0.1", 0), type("Requests", (_Requests,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
