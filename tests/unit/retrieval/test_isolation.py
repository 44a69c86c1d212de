"""Random operations of several owners never show one what is another's."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from retrieval.errors import InvalidRequest, NotFound, RetrievalError, StoreNotFound
from retrieval.library import Library
from retrieval.store_files import Attached
from retrieval.types import Cursor, FileObject
from tests.unit.retrieval.fakes import BagEmbedder

OWNERS = st.sampled_from(["ann", "bob", "carl"])
NAMES = st.sampled_from(["docs", "notes"])
READERS = st.sampled_from([(), ("bob",), ("*",), ("ann", "carl")])
FILES = st.sampled_from(["a.md", "b.md"])


class Isolation(RuleBasedStateMachine):
    """The model: owner and readers of each store, the texts of its files, and whose files are."""

    store_ids = Bundle("store_ids")
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.library = Library.open(Path(self.folder.name), BagEmbedder())
        self.owner: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.readers: dict[str, tuple[str, ...]] = {}
        self.texts: dict[str, dict[str, str]] = {}
        self.uploaded: dict[str, tuple[str, str]] = {}  # owner and text by file id
        self.counter = 0

    def teardown(self) -> None:
        self.library.close()
        self.runner.close()
        self.folder.cleanup()

    def sees(self, who: str, store_id: str) -> bool:
        return store_id in self.owner and (
            self.owner[store_id] == who or not {who, "*"}.isdisjoint(self.readers[store_id])
        )

    @rule(target=store_ids, owner=OWNERS, name=NAMES, readers=READERS)
    def ensure(self, owner: str, name: str, readers: tuple[str, ...]) -> str:
        record = self.runner.run(self.library.ensure_store(name, owner, readers))
        self.owner[record.id], self.names[record.id] = owner, name
        self.readers[record.id] = readers
        self.texts.setdefault(record.id, {})
        return record.id

    @rule(store_id=store_ids, who=OWNERS, filename=FILES)
    def ingest(self, store_id: str, who: str, filename: str) -> None:
        self.counter += 1
        text = f"Secret{self.counter} of {who} is the word."
        call = self.library.ingest(store_id, who, [(filename, text.encode())])
        try:
            report = self.runner.run(call)
        except StoreNotFound:
            assert self.owner.get(store_id) != who
        else:
            assert self.owner[store_id] == who
            assert report.added == (filename,)
            self.texts[store_id][filename] = text

    @rule(target=uploads, owner=OWNERS)
    def upload(self, owner: str) -> str:
        self.counter += 1
        text = f"Secret{self.counter} of {owner} is the word."

        async def create() -> FileObject:
            with self.library.catalog.incoming() as content:
                content.write(text.encode())
                return await self.library.catalog.create_file(
                    owner, content, f"up{self.counter}.md", "assistants"
                )

        file = self.runner.run(create())
        self.uploaded[file.id] = owner, text
        return file.id

    @rule(store_id=store_ids, file_id=uploads, who=OWNERS)
    def attach(self, store_id: str, file_id: str, who: str) -> None:
        """Own files into own stores; whatever else is tried changes nothing."""

        async def run() -> None:
            self.library.start()
            try:
                await self.library.catalog.attach(who, store_id, Attached(file_id=file_id))
                await self.library.settled()
            finally:
                await self.library.stop()

        owner, text = self.uploaded.get(file_id, ("", ""))
        try:
            self.runner.run(run())
        except NotFound:
            assert self.owner.get(store_id) != who or owner != who
        else:
            assert self.owner[store_id] == owner == who
            self.texts[store_id][file_id] = text

    @rule(file_id=uploads, who=OWNERS)
    def look_at_a_file(self, file_id: str, who: str) -> None:
        catalog = self.library.catalog
        try:
            content = self.runner.run(catalog.file_content(who, file_id))
        except NotFound:
            assert self.uploaded.get(file_id, ("", ""))[0] != who
            try:
                self.runner.run(catalog.file_page(who, Cursor(after=file_id)))
            except InvalidRequest:
                pass
            else:  # an own one that is gone is still a place in the list
                assert file_id not in self.uploaded
        else:
            assert self.uploaded[file_id] == (who, content.path.read_text())

    @rule(file_id=uploads, who=OWNERS)
    def delete_an_upload(self, file_id: str, who: str) -> None:
        try:
            self.runner.run(self.library.catalog.delete_file(who, file_id))
        except NotFound:
            assert self.uploaded.get(file_id, ("", ""))[0] != who
        else:
            assert self.uploaded.pop(file_id)[0] == who
            for texts in self.texts.values():
                texts.pop(file_id, None)

    @rule(store_id=store_ids, file_id=uploads, who=OWNERS)
    def read_a_file_of_a_store(self, store_id: str, file_id: str, who: str) -> None:
        call = self.library.catalog.store_file_text(who, store_id, file_id)
        try:
            text = self.runner.run(call)
        except NotFound:
            assert not self.sees(who, store_id) or file_id not in self.texts[store_id]
        else:
            assert self.sees(who, store_id)
            assert text == self.texts[store_id][file_id]

    @rule(store_id=store_ids, who=OWNERS)
    def delete_store(self, store_id: str, who: str) -> None:
        try:
            self.runner.run(self.library.delete_store(store_id, who))
        except StoreNotFound:
            assert self.owner.get(store_id) != who
        else:
            assert self.owner.pop(store_id) == who
            del self.texts[store_id]

    @rule(store_id=store_ids, whose=store_ids, who=OWNERS)
    def delete_file(self, store_id: str, whose: str, who: str) -> None:
        """With a file id that may be of another's store."""
        if whose not in self.owner or not self.texts[whose]:
            return
        file = self.runner.run(self.library.files(whose, self.owner[whose]))[0]
        try:
            self.runner.run(self.library.delete_file(store_id, file.id, who))
        except RetrievalError:
            assert self.owner.get(store_id) != who or store_id != whose
        else:
            assert self.owner[store_id] == who
            assert store_id == whose
            self.texts[whose].pop(file.filename, None)
            self.texts[whose].pop(file.id, None)

    @rule(store_id=store_ids, who=OWNERS)
    def search(self, store_id: str, who: str) -> None:
        call = self.library.search("the secret word", owner=who, stores=[store_id], limit=50)
        try:
            hits = self.runner.run(call)
        except StoreNotFound:
            assert not self.sees(who, store_id)
        else:
            assert self.sees(who, store_id)
            assert sorted(hit.text for hit in hits) == sorted(self.texts[store_id].values())

    @rule(name=NAMES, who=OWNERS)
    def search_by_name(self, name: str, who: str) -> None:
        call = self.library.search("the secret word", owner=who, stores=[name], limit=50)
        visible = [i for i in self.owner if self.names[i] == name and self.sees(who, i)]
        try:
            hits = self.runner.run(call)
        except StoreNotFound:
            assert not visible
        else:
            own = [i for i in visible if self.owner[i] == who]
            assert {hit.store_id for hit in hits} <= set(own or visible)

    @invariant()
    def lists_show_what_may_be_seen(self) -> None:
        for who in ("ann", "bob", "carl", "nobody"):
            page = self.runner.run(self.library.catalog.file_page(who, Cursor(limit=1000)))
            mine = {file for file, (owner, _) in self.uploaded.items() if owner == who}
            assert {file.id for file in page.items if file.filename.startswith("up")} == mine
            stores = self.runner.run(self.library.catalog.store_page(who, Cursor(limit=1000)))
            assert {record.id for record in stores.items} == {
                i for i in self.owner if self.sees(who, i)
            }
            listed = self.runner.run(self.library.stores(who))
            assert {record.id for record in listed} == {i for i in self.owner if self.sees(who, i)}
            for record in listed:
                assert record.file_count == len(self.texts[record.id])
                assert record.chunk_count == len(self.texts[record.id])


Isolation.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestIsolation = Isolation.TestCase
