"""`jurat stores`: lists vector stores, shows the files of one, deletes one."""

import argparse
import json
import sys
from collections.abc import Sequence

import openai
from openai.types import VectorStore
from openai.types.vector_stores import VectorStoreFile
from rich import box
from rich.table import Table

from clients.api import ClientError, add_gateway_options, run_client
from clients.documents import all_stores, find_stores, gateway_client
from clients.show import clean, console

__all__ = ["main", "parser"]

_PAGE = 100
EPILOG = """examples:
  jurat stores
  jurat stores show papers
  jurat stores delete papers
"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    return run_client("stores", lambda: stores(options))


def parser() -> argparse.ArgumentParser:
    """The options of `jurat stores`."""
    made = argparse.ArgumentParser(
        prog="jurat stores",
        description="Vector stores and their files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "action", nargs="?", choices=("list", "show", "delete"), default="list", help="(list)"
    )
    made.add_argument("store", nargs="?", metavar="NAME", help="of show and delete: a name or id")
    add_gateway_options(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def stores(options: argparse.Namespace) -> int:
    """Do what is asked and print it. Raises ClientError."""
    if (options.action == "list") != (options.store is None):
        raise ClientError(f"`jurat stores {options.action}` takes " + _takes(options.action))
    with gateway_client(options.url, options.api_key) as client:
        if options.action == "list":
            _list(all_stores(client), as_json=options.json)
            return 0
        (store,) = find_stores(client, [options.store])
        files = list(client.vector_stores.files.list(store.id, limit=_PAGE))
        if options.action == "show":
            names = {file.id: file.filename for file in client.files.list()}
            _show(store, files, names, as_json=options.json)
        else:
            _delete(client, store, files)
            _say({"deleted": store.id, "name": store.name}, f"Deleted {store.name}.", options.json)
    return 0


def _takes(action: str) -> str:
    return "no name." if action == "list" else "the name of a store."


def _delete(client: openai.OpenAI, store: VectorStore, files: Sequence[VectorStoreFile]) -> None:
    """The store, and the files that `jurat ingest` uploaded for it alone."""
    client.vector_stores.delete(store.id)
    for file in files:
        if {"path", "sha256"} <= (file.attributes or {}).keys():
            client.files.delete(file.id)


def _list(found: Sequence[VectorStore], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"stores": [_store(store) for store in found]}) + "\n")
        return
    table = Table("store", "id", "files", "failed", "bytes", box=box.SIMPLE)
    for store in found:
        counts = store.file_counts
        table.add_row(
            clean(store.name),
            store.id,
            str(counts.total),
            str(counts.failed or ""),
            f"{store.usage_bytes:,}",
        )
    console().print(table if found else "There are no stores yet.")


def _show(
    store: VectorStore, files: Sequence[VectorStoreFile], names: dict[str, str], *, as_json: bool
) -> None:
    rows = [
        {
            "id": file.id,
            "filename": names.get(file.id, ""),
            "status": file.status,
            "error": file.last_error.message if file.last_error else None,
            "bytes": file.usage_bytes,
            "attributes": file.attributes or {},
        }
        for file in files
    ]
    if as_json:
        sys.stdout.write(json.dumps({**_store(store), "files": rows}) + "\n")
        return
    out = console()
    out.print(f"{clean(store.name)}  {store.id}")
    table = Table("file", "id", "status", box=box.SIMPLE)
    for row in rows:
        status = f"{row['status']}: {row['error']}" if row["error"] else str(row["status"])
        table.add_row(clean(str(row["filename"])), str(row["id"]), clean(status))
    out.print(table)


def _store(store: VectorStore) -> dict[str, object]:
    return {
        "id": store.id,
        "name": store.name,
        "status": store.status,
        "file_counts": store.file_counts.to_dict(),
        "usage_bytes": store.usage_bytes,
        "created_at": store.created_at,
    }


def _say(found: dict[str, object], line: str, as_json: bool) -> None:
    print(json.dumps(found) if as_json else clean(line))
