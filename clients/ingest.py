"""`jurat ingest`: brings a store to what files and folders hold; `--watch` keeps it there."""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import openai
from openai.types import VectorStore
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.api import ClientError, add_gateway_options, run_client
from clients.documents import DEFAULT_STORE, gateway_client, open_store
from clients.folder import Held, Local, Plan, Problem, hash_files, list_files, plan
from clients.show import clean, console

__all__ = ["main", "parser"]

_AT_ONCE = 8  # files; the gateway reads some while it embeds others
_PAGE = 100
_WATCH_S = 1.0
_LOADING = 503  # HTTP status of a gateway that is not ready yet
EPILOG = """examples:
  jurat ingest ~/Documents/manuals
  jurat ingest --store papers --watch papers/ notes.md
  jurat ingest --json report.pdf
"""


class _Report:
    """What became of the files, by path."""

    def __init__(self, store: VectorStore) -> None:
        self.store = store
        self.added: list[str] = []
        self.replaced: list[str] = []
        self.unchanged: list[str] = []
        self.deleted: list[str] = []
        self.failed: list[Problem] = []

    def as_json(self) -> str:
        return json.dumps(
            {
                "store": {"id": self.store.id, "name": self.store.name},
                "added": self.added,
                "replaced": self.replaced,
                "unchanged": self.unchanged,
                "deleted": self.deleted,
                "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
            }
        )

    def summary(self) -> str:
        counts = {
            "added": self.added,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "failed": self.failed,
        }
        shown = ", ".join(f"{len(found)} {what}" for what, found in counts.items() if found)
        return f"{self.store.name}: {shown or 'nothing to do'}"


def main(argv: Sequence[str]) -> int:
    """Run the command; 1 where a file failed."""
    options = parser().parse_args(argv)
    return run_client("ingest", lambda: ingest(options))


def parser() -> argparse.ArgumentParser:
    """The options of `jurat ingest`."""
    made = argparse.ArgumentParser(
        prog="jurat ingest",
        description="Put files and folders into a vector store. What is there unchanged is "
        "skipped; what is gone from a folder is taken out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("path", nargs="+", type=Path, help="a file or a folder")
    made.add_argument(
        "--store", default=DEFAULT_STORE, metavar="NAME", help="made if missing (%(default)s)"
    )
    made.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    add_gateway_options(made)
    made.add_argument("--json", action="store_true", help="print one JSON object an ingest")
    return made


def ingest(options: argparse.Namespace) -> int:
    """Ingest once, or each time that something changed. Raises ClientError."""
    if not options.watch and not any(path.exists() for path in options.path):
        raise ClientError(f"{options.path[0]} does not exist.")
    with gateway_client(options.url, options.api_key) as client:
        store = open_store(client, options.store)
        ingester = _Ingester(client, store, options.path, quiet=options.json)
        report = ingester.run()
        _show(report, as_json=options.json)
        if options.watch:
            _watch(ingester, as_json=options.json)
    return 1 if report.failed else 0


def _watch(ingester: "_Ingester", *, as_json: bool) -> None:
    """Ingest each time that something changed; a gateway that is away is waited for."""
    away = False
    while True:
        time.sleep(_WATCH_S)
        if not (away or ingester.changed()):
            continue
        try:
            report = ingester.run()
        except openai.APIError as error:
            if not _is_away(error):
                raise
            if not away:
                print(clean(f"{error} Trying again until Ctrl-C."), file=sys.stderr)
            away = True
        else:
            away = False
            _show(report, as_json=as_json)


def _is_away(error: openai.APIError) -> bool:
    loading = isinstance(error, openai.APIStatusError) and error.status_code == _LOADING
    return loading or isinstance(error, openai.APIConnectionError)


def sync(client: openai.OpenAI, name: str, paths: Sequence[Path]) -> list[Problem]:
    """Bring the store of that name, made if missing, to what the paths hold; what failed."""
    return _Ingester(client, open_store(client, name), paths, quiet=False).run().failed


def _show(report: _Report, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(report.as_json() + "\n")
        sys.stdout.flush()
        return
    for path, reason in report.failed:
        print(clean(f"{path}: {reason}"), file=sys.stderr)
    print(clean(report.summary()))


class _Ingester:
    """One store and the paths that it is to hold."""

    def __init__(
        self, client: openai.OpenAI, store: VectorStore, paths: Sequence[Path], *, quiet: bool
    ) -> None:
        self._client = client
        self._store = store
        self._paths = paths
        self._quiet = quiet
        self._known: dict[str, Local] = {}
        self._failed: set[Local] = set()

    def changed(self) -> bool:
        """Whether a file came, went or changed since the last run. Reads none that did not."""
        paths, _, _ = list_files(self._paths)
        files, _ = hash_files(paths, self._known)
        return {file.path: file for file in files} != self._known

    def run(self) -> _Report:
        """Do what is to be done. What failed stays as it was in the store."""
        paths, folders, problems = list_files(self._paths)
        files, unread = hash_files(paths, self._known)
        self._known = {file.path: file for file in files}
        report = _Report(self._store)
        report.failed = [*problems, *unread]
        todo = plan(files, folders, [path for path, _ in report.failed], self._held())
        report.unchanged = [file.path for file in todo.unchanged]
        self._upload(todo, report)
        for one in todo.delete:
            self._remove(one.file_id)
        report.deleted = sorted({one.path for one in todo.delete} - self._known.keys())
        return report

    def _held(self) -> list[Held]:
        """What `jurat ingest` put into the store; other files are none of its business."""
        held: list[Held] = []
        for file in self._client.vector_stores.files.list(self._store.id, limit=_PAGE):
            attributes = file.attributes or {}
            path, sha256 = attributes.get("path"), attributes.get("sha256")
            if isinstance(path, str) and isinstance(sha256, str):
                held.append(Held(file.id, path, sha256, file.status == "completed"))
        return held

    def _upload(self, todo: Plan, report: _Report) -> None:
        if not todo.upload:
            return
        with (
            ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool,
            _progress(len(todo.upload), quiet=self._quiet) as advance,
        ):
            running = {
                pool.submit(self._replace, file, before): (file, before)
                for file, before in todo.upload
            }
            try:
                for future in as_completed(running):
                    file, before = running[future]
                    if reason := future.result():
                        report.failed.append(Problem(file.path, reason))
                    else:
                        (report.replaced if before else report.added).append(file.path)
                    advance(file.path)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _replace(self, file: Local, before: Sequence[Held]) -> str:
        """Why the file could not be ingested, or nothing.

        What it replaces can be found until then.
        """
        try:
            created = self._client.files.create(file=Path(file.path), purpose="assistants")
        except OSError as error:
            return error.strerror or str(error)
        except openai.APIStatusError as error:
            if error.status_code not in (400, 413, 422):
                raise
            return error.message
        files = self._client.vector_stores.files
        try:
            files.create(
                self._store.id,
                file_id=created.id,
                attributes={"path": file.path, "sha256": file.sha256},
            )
            done = files.poll(created.id, vector_store_id=self._store.id)
        except BaseException:
            with contextlib.suppress(openai.OpenAIError):
                self._remove(created.id)
            raise
        if done.status != "completed":
            for one in before:
                if not one.completed:  # an earlier run was ended before it could clear up
                    self._remove(one.file_id)
            self._remove(created.id)
            reason = done.last_error.message if done.last_error else f"it is {done.status}"
            return reason.removeprefix(f"{Path(file.path).name}: ")
        for one in before:
            self._remove(one.file_id)
        return ""

    def _remove(self, file_id: str) -> None:
        with contextlib.suppress(openai.NotFoundError):
            self._client.files.delete(file_id)  # which takes it out of its stores, too


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Generator[Callable[[str], None]]:
    """Yields what to call with the path of each file that is done."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=total)

        def advance(path: str) -> None:
            bar.update(task, advance=1, description=clean(Path(path).name))

        yield advance
