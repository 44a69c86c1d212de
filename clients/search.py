"""`jurat search`: the passages of vector stores that fit a question best."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

from openai.types import VectorStoreSearchResponse
from rich.console import Console
from rich.text import Text

from clients.api import ClientError, add_gateway_options, run_client
from clients.ask import positive, question
from clients.documents import find_stores, gateway_client
from clients.show import clean, console, short

__all__ = ["main", "parser"]

EPILOG = """examples:
  jurat search "How long is the warranty of a laptop?"
  jurat search --store papers --k 5 --json "amortised training cost"
"""


class _Found(NamedTuple):
    store: str
    hit: VectorStoreSearchResponse

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.hit.content)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    return run_client("search", lambda: search(options))


def parser() -> argparse.ArgumentParser:
    """The options of `jurat search`."""
    made = argparse.ArgumentParser(
        prog="jurat search",
        description="Find passages in the documents of vector stores.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("query", help="words or a question; - reads it from standard input")
    made.add_argument(
        "--store", action="append", default=[], metavar="NAME", help="may be repeated; default: all"
    )
    made.add_argument("--k", type=positive, default=10, metavar="N", help="passages (%(default)s)")
    add_gateway_options(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def search(options: argparse.Namespace) -> int:
    """Search and print. Raises ClientError."""
    query = question(options.query)
    with gateway_client(options.url, options.api_key) as client:
        stores = find_stores(client, options.store)
        if not stores:
            raise ClientError("There are no stores yet. Make one with `jurat ingest PATH`.")
        found = [
            _Found(store.name, hit)
            for store in stores
            for hit in client.vector_stores.search(store.id, query=query, max_num_results=options.k)
        ]
    best = sorted(found, key=lambda one: -one.hit.score)[: options.k]
    if options.json:
        sys.stdout.write(_as_json(query, best) + "\n")
    else:
        _show(console(), best)
    return 0


def _as_json(query: str, found: Sequence[_Found]) -> str:
    results = [
        {
            "store": one.store,
            "file_id": one.hit.file_id,
            "filename": one.hit.filename,
            "score": one.hit.score,
            "attributes": one.hit.attributes,
            "text": one.text,
        }
        for one in found
    ]
    return json.dumps({"query": query, "results": results})


def _show(out: Console, found: Sequence[_Found]) -> None:
    if not found:
        out.print("Nothing found.")
    for number, one in enumerate(found, start=1):
        head = f"[{number}] {clean(one.hit.filename)}  {one.hit.score:.3f}  {clean(one.store)}"
        out.print(Text(head, "bold"))
        out.print(Text(short(one.text)))
