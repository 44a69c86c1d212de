"""A process that uploads and ingests until it is killed, and says what is done.

Arguments: the data directory, and a number that makes its files new. Prints one JSON list a line.
"""

import asyncio
import hashlib
import json
import sys
from itertools import count
from pathlib import Path

from retrieval.library import Library
from retrieval.store_files import Attached
from tests.unit.retrieval.fakes import BagEmbedder

OWNERS = ("ann", "bob")


def text_of(name: str) -> str:
    return "\n\n".join(f"# H{n}\n\nPassage {n} of {name} here." for n in range(20))


def say(*words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def use(library: Library, owner: str, seed: str) -> None:
    catalog = library.catalog
    store = await library.ensure_store("docs", owner)
    for number in count():
        name = f"{owner}-{seed}-{number}.md"
        with catalog.incoming() as content:
            content.write(text_of(name).encode())
            file = await catalog.create_file(owner, content, name, "assistants")
        say("created", owner, file.id, hashlib.sha256(text_of(name).encode()).hexdigest())
        await catalog.attach(owner, store.id, Attached(file_id=file.id, attributes={"n": number}))
        say("attached", owner, file.id, name)
        if number % 3 == 2:
            status = ""
            while status != "completed":  # as clients do it: they ask
                status = (await catalog.store_file(owner, store.id, file.id)).status
            say("completed", owner, file.id, name)
        if number % 5 == 4:
            await catalog.delete_file(owner, file.id)
            say("deleted", owner, file.id, name)


async def main() -> None:
    library = Library.open(Path(sys.argv[1]), BagEmbedder())
    library.start()
    await asyncio.gather(*(use(library, owner, sys.argv[2]) for owner in OWNERS))


asyncio.run(main())
