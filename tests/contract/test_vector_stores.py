"""Vector stores, their files and search, through the official client."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from msgspec.structs import replace

from gateway.settings import StoreSettings
from models.engines.fake import FakeEngine
from models.types import GenerateRequest
from tests.contract.serving import configuration, serve, wait_ready
from tests.contract.test_files import strict

LAMP = b"# Lamp\n\nThe lamp of the router is blue. It blinks while the router starts.\n"
PAPER = b"# Paper\n\nThe printer takes two hundred sheets of paper.\n"


class Served(NamedTuple):
    url: str
    alice: openai.OpenAI
    bob: openai.OpenAI
    http: httpx.Client  # as alice


def rewritten(request: GenerateRequest) -> str:
    """A polite query without its politeness; nothing of any other."""
    query = request.prompt.messages[-1].content  # type: ignore[union-attr]
    return f'1. "{query.removeprefix("Please: ")}"\nmore' if "Please" in query else " "


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("stores")
    found = configuration(folder, models=("fake", "writer"), keys=("alice:key-a", "bob:key-b"))
    retrieval = replace(found.settings.retrieval, rewrite_model="writer")
    found = replace(found, settings=replace(found.settings, retrieval=retrieval))
    (folder / "docs").mkdir()
    (folder / "docs" / "router.txt").write_bytes(LAMP)
    found.settings.stores.append(StoreSettings(name="handbook", paths=["docs"], read=["alice"]))
    with (
        serve(found, {"writer": FakeEngine(reply=rewritten)}) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-a", max_retries=0) as alice,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key-b", max_retries=0) as bob,
        httpx.Client(base_url=url, headers={"authorization": "Bearer key-a"}, timeout=20) as http,
    ):
        wait_ready(http)
        yield Served(url, alice, bob, http)


@pytest.fixture
def store(served: Served) -> Iterator[str]:
    store = served.alice.vector_stores.create(name="docs")
    yield store.id
    served.alice.vector_stores.delete(store.id)


def put(served: Served, store: str, name: str, content: bytes, **options: Any) -> Any:
    return strict(
        served.alice.vector_stores.files.upload_and_poll(
            vector_store_id=store, file=(name, content), **options
        )
    )


def posted(served: Served, path: str, body: Any) -> httpx.Response:
    """httpx's own encoding of JSON takes no lone surrogates."""
    headers = {"content-type": "application/json"}
    return served.http.post(path, content=json.dumps(body), headers=headers)


def test_upload_and_poll_then_search(served: Served, store: str) -> None:
    file = put(served, store, "lamp.md", LAMP, attributes={"ref_id": "L1", "year": 2024})
    assert (file.status, file.last_error, file.vector_store_id) == ("completed", None, store)
    assert file.attributes == {"ref_id": "L1", "year": 2024}
    assert file.usage_bytes > len(LAMP)
    assert file.chunking_strategy.static.max_chunk_size_tokens == 400
    put(served, store, "paper.md", PAPER, attributes={"year": 2023})
    record = strict(served.alice.vector_stores.retrieve(store))
    assert (record.status, record.file_counts.completed, record.file_counts.total) == (
        "completed",
        2,
        2,
    )
    assert record.usage_bytes > file.usage_bytes
    page = served.alice.vector_stores.search(store, query="colour of the lamp")
    results = [strict(result) for result in page]
    assert results[0].filename == "lamp.md"
    assert "blue" in results[0].content[0].text
    assert results[0].attributes == {"ref_id": "L1", "year": 2024}
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1
    raw = served.http.post(
        f"/v1/vector_stores/{store}/search",
        json={"query": ["lamp", "paper"], "rewrite_query": True},
    ).json()
    assert raw["object"] == "vector_store.search_results.page"
    assert raw["search_query"] == ["lamp", "paper"]
    assert (raw["has_more"], raw["next_page"]) == (False, None)
    assert {result["filename"] for result in raw["data"]} == {"lamp.md", "paper.md"}


def test_a_query_is_rewritten_where_that_is_asked_for(served: Served, store: str) -> None:
    put(served, store, "lamp.md", LAMP)
    path = f"/v1/vector_stores/{store}/search"
    body = {"query": ["Please: lamp", "paper"]}
    assert served.http.post(path, json=body).json()["search_query"] == body["query"]
    found = served.http.post(path, json={**body, "rewrite_query": True}).json()
    assert found["search_query"] == ["lamp", "paper"]
    plain = served.http.post(path, json={"query": ["lamp", "paper"]}).json()
    assert found["data"] == plain["data"]


async def test_the_async_client(served: Served, store: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="key-a") as client:
        file = await client.vector_stores.files.upload_and_poll(
            vector_store_id=store, file=("lamp.md", LAMP)
        )
        assert file.status == "completed"
        batch = await client.vector_stores.file_batches.upload_and_poll(
            store, files=[("a.md", LAMP), ("b.md", PAPER)]
        )
        assert batch.file_counts.completed == 2
        found = await client.vector_stores.search(store, query="lamp")
        assert [result.filename async for result in found]


def test_filters_and_ranking(served: Served, store: str) -> None:
    for number in range(4):
        text = f"The lamp number {number} is blue.".encode()
        attributes = {"number": number, "even": number % 2 == 0}
        put(served, store, f"{number}.md", text, attributes=attributes)

    def found(filters: Any, **options: Any) -> set[str]:
        page = served.alice.vector_stores.search(store, query="lamp", filters=filters, **options)
        return {result.filename for result in page}

    assert found({"type": "eq", "key": "even", "value": True}) == {"0.md", "2.md"}
    assert found(
        {
            "type": "and",
            "filters": [
                {"type": "gte", "key": "number", "value": 1},
                {"type": "or", "filters": [{"type": "in", "key": "number", "value": [1, 3]}]},
            ],
        }
    ) == {"1.md", "3.md"}
    assert found({"type": "eq", "key": "number", "value": "1"}) == set()
    only = {"type": "nin", "key": "number", "value": []}
    assert len(found(only, max_num_results=3)) == 3
    nothing_said: Any = {"max_num_results": None, "rewrite_query": None, "ranking_options": None}
    assert len(found(only, **nothing_said)) == len(found(only)), "null is as if it were absent"
    for weights in ((1, 0), (0, 1)):
        hybrid = {"embedding_weight": weights[0], "text_weight": weights[1]}
        assert found(only, ranking_options={"hybrid_search": hybrid})
    assert found(only, ranking_options={"ranker": "none", "score_threshold": 1.0}) == set()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "  "}, "query"),
        ({"query": []}, "query"),
        ({"query": ["a", ""]}, "query"),
        ({"query": 5}, "query"),
        ({"query": "a", "max_num_results": 0}, "max_num_results"),
        ({"query": "a", "max_num_results": 51}, "max_num_results"),
        (
            {"query": "a", "ranking_options": {"score_threshold": 2}},
            "ranking_options.score_threshold",
        ),
        ({"query": "a", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        (
            {
                "query": "a",
                "ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}},
            },
            "ranking_options.hybrid_search",
        ),
        ({"query": "a", "filters": {"type": "eq", "key": "k"}}, "filters.value"),
        ({"query": "a", "filters": {"type": "and", "filters": []}}, "filters.filters"),
    ],
)
def test_a_search_that_cannot_be_is_a_400(
    served: Served, store: str, body: dict[str, Any], param: str
) -> None:
    answer = served.http.post(f"/v1/vector_stores/{store}/search", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("depth", [40, 1000, 100_000])
def test_filters_nested_deeply_are_a_400(served: Served, store: str, depth: int) -> None:
    nested = '{"type":"and","filters":[' * depth + "]}" * depth
    answer = served.http.post(
        f"/v1/vector_stores/{store}/search",
        content='{"query":"a","filters":' + nested + "}",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("invalid_value", "invalid_json")


def test_a_file_that_cannot_be_taken_says_why(served: Served, store: str) -> None:
    empty = put(served, store, "empty.md", b"")
    assert (empty.status, empty.last_error.code) == ("failed", "invalid_file")
    assert "empty" in empty.last_error.message
    strange = put(served, store, "strange.xyz", b"\x00\x01\x02")
    assert (strange.status, strange.last_error.code) == ("failed", "unsupported_file")
    counts = served.alice.vector_stores.retrieve(store).file_counts
    assert (counts.failed, counts.completed) == (2, 0)
    failed = served.alice.vector_stores.files.list(store, filter="failed")
    assert {file.id for file in failed} == {empty.id, strange.id}
    assert served.alice.vector_stores.files.list(store, filter="completed").data == []


def test_files_of_a_store(served: Served, store: str) -> None:
    strategy = {
        "type": "static",
        "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 10},
    }
    text = b"\n\n".join(b"Words about lamp %d and more of it." % n for n in range(40))
    file = put(served, store, "long.md", text, chunking_strategy=strategy)
    assert file.chunking_strategy.static.max_chunk_size_tokens == 100
    changed = strict(
        served.alice.vector_stores.files.update(
            file.id, vector_store_id=store, attributes={"tag": "x", "on": False, "n": 1.5}
        )
    )
    assert changed.attributes == {"tag": "x", "on": False, "n": 1.5}
    (content,) = served.alice.vector_stores.files.content(file.id, vector_store_id=store)
    assert content.text is not None
    assert content.text.strip() == text.decode()
    others = [put(served, store, f"{n}.md", b"lamp %d" % n).id for n in range(3)]
    listed = served.alice.vector_stores.files.list(store, order="asc", limit=2)
    assert [one.id for one in listed] == [file.id, *others]
    before = served.alice.vector_stores.files.list(store, before=others[0], order="desc", limit=1)
    assert [one.id for one in before.data] == [others[1]]
    deleted = strict(served.alice.vector_stores.files.delete(file.id, vector_store_id=store))
    assert deleted.deleted
    page = served.alice.vector_stores.search(store, query="words about lamp")
    assert file.id not in {result.file_id for result in page}
    assert served.alice.files.retrieve(file.id).filename == "long.md"
    served.alice.files.delete(others[0])  # from the store, too
    assert served.alice.vector_stores.retrieve(store).file_counts.total == 2
    with pytest.raises(openai.NotFoundError):
        served.alice.vector_stores.files.retrieve(others[0], vector_store_id=store)


def test_batches(served: Served, store: str) -> None:
    files = [
        served.alice.files.create(file=(f"{n}.md", b"lamp %d" % n), purpose="assistants").id
        for n in range(3)
    ]
    batch = strict(
        served.alice.vector_stores.file_batches.create_and_poll(
            store,
            files=[
                {"file_id": files[0], "attributes": {"n": 0}},
                {"file_id": files[1], "chunking_strategy": {"type": "auto"}},
                {"file_id": files[2]},
            ],
        )
    )
    assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == (
        "completed",
        3,
        3,
    )
    listed = served.alice.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=store, order="asc"
    )
    assert [file.id for file in listed] == files
    done = served.alice.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    assert done.status == "completed"  # nothing was left to cancel
    with pytest.raises(openai.NotFoundError) as caught:
        served.alice.vector_stores.file_batches.create(
            store, file_ids=[files[0], "file-000000000000000000000000"]
        )
    assert caught.value.code == "file_not_found"
    for wrong in ({}, {"file_ids": []}, {"file_ids": files, "files": [{"file_id": files[0]}]}):
        answer = served.http.post(f"/v1/vector_stores/{store}/file_batches", json=wrong)
        assert answer.status_code == 400


def test_stores_are_listed_page_by_page(served: Served) -> None:
    made = [served.bob.vector_stores.create(name=str(number)).id for number in range(3)]
    own = [store.id for store in served.bob.vector_stores.list(limit=1) if store.id in made]
    assert own == made[::-1]
    back = served.bob.vector_stores.list(before=made[0], limit=1, order="desc")
    assert [store.id for store in back.data] == [made[1]]
    for store in made:
        served.bob.vector_stores.delete(store)
    with pytest.raises(openai.BadRequestError) as caught:
        served.bob.vector_stores.list(after="vs_none")
    assert caught.value.param == "after"


def test_stores_are_made_changed_and_listed(served: Served) -> None:
    file = served.alice.files.create(file=("lamp.md", LAMP), purpose="assistants")
    made = strict(
        served.alice.vector_stores.create(
            name="one",
            description="lamps",
            metadata={"a": "b"},
            expires_after={"anchor": "last_active_at", "days": 2},
            file_ids=[file.id],
        )
    )
    assert made.expires_at == made.last_active_at + 2 * 86_400
    assert (made.metadata, made.file_counts.total) == ({"a": "b"}, 1)
    assert strict(served.alice.vector_stores.files.poll(file.id, vector_store_id=made.id))
    changed = strict(
        served.alice.vector_stores.update(made.id, name="two", expires_after=None, metadata={})
    )
    assert (changed.name, changed.expires_after, changed.metadata) == ("two", None, {})
    assert changed.expires_at is None
    raw = served.http.get(f"/v1/vector_stores/{made.id}").json()
    assert raw["description"] == "lamps"
    assert "expires_after" not in raw
    listed = served.alice.vector_stores.list(limit=1)
    assert listed.data[0].id == made.id
    assert strict(served.alice.vector_stores.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        served.alice.vector_stores.retrieve(made.id)
    assert caught.value.code == "vector_store_not_found"
    unnamed = strict(served.alice.vector_stores.create())
    assert unnamed.name == ""
    served.alice.vector_stores.delete(unnamed.id)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "n" * 257}, "name"),
        ({"name": "\ud800"}, None),  # no valid JSON
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ({"chunking_strategy": {"type": "odd"}}, "chunking_strategy.type"),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
                }
            },
            "chunking_strategy.static.chunk_overlap_tokens",
        ),
        ({"quota_bytes": -1}, "quota_bytes"),
    ],
)
def test_a_store_that_cannot_be_is_a_400(
    served: Served, body: dict[str, Any], param: str | None
) -> None:
    answer = posted(served, "/v1/vector_stores", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("attributes", "param"),
    [
        ({str(n): n for n in range(17)}, "attributes"),
        ({"k" * 65: 1}, "attributes"),
        ({"k": "v" * 513}, "attributes.k"),
        ({"k": "\udc00"}, None),  # no valid JSON
        ({"k": 10**30}, "attributes.k"),
        ({"k": None}, "attributes"),
        ({"k": ["v"]}, "attributes"),
    ],
)
def test_attributes_that_cannot_be_are_a_400(
    served: Served, store: str, attributes: dict[str, Any], param: str | None
) -> None:
    file = served.alice.files.create(file=("a.md", b"x"), purpose="assistants")
    body = {"file_id": file.id, "attributes": attributes}
    answer = posted(served, f"/v1/vector_stores/{store}/files", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert served.alice.vector_stores.retrieve(store).file_counts.total == 0


def test_a_quota_is_kept(served: Served) -> None:
    store = served.alice.vector_stores.create(extra_body={"quota_bytes": 100})
    assert store.model_extra == {"quota_bytes": 100}
    first = put(served, store.id, "a.md", b"x" * 60)
    assert first.status == "completed"
    with pytest.raises(openai.BadRequestError) as caught:
        put(served, store.id, "b.md", b"y" * 41)
    assert caught.value.code == "quota_exceeded"
    served.alice.vector_stores.files.delete(first.id, vector_store_id=store.id)
    assert put(served, store.id, "c.md", b"y" * 41).status == "completed"
    served.alice.vector_stores.delete(store.id)


def test_nobody_sees_the_stores_of_another(served: Served, store: str) -> None:
    file = put(served, store, "secret.md", LAMP)
    bob = served.bob.vector_stores
    calls = (
        lambda vs: bob.retrieve(vs),
        lambda vs: bob.update(vs, name="mine"),
        lambda vs: bob.delete(vs),
        lambda vs: bob.search(vs, query="lamp"),
        lambda vs: bob.files.list(vs),
        lambda vs: bob.files.retrieve(file.id, vector_store_id=vs),
        lambda vs: bob.files.content(file.id, vector_store_id=vs),
        lambda vs: bob.files.update(file.id, vector_store_id=vs, attributes={}),
        lambda vs: bob.files.create(vs, file_id=file.id),
        lambda vs: bob.files.delete(file.id, vector_store_id=vs),
        lambda vs: bob.file_batches.create(vs, file_ids=[file.id]),
        lambda vs: bob.file_batches.retrieve("vsfb_1", vector_store_id=vs),
        lambda vs: bob.file_batches.cancel("vsfb_1", vector_store_id=vs),
        lambda vs: bob.file_batches.list_files("vsfb_1", vector_store_id=vs),
    )
    for call in calls:
        told: list[str] = []
        for wanted in (store, "vs_000000000000000000000000"):
            with pytest.raises(openai.NotFoundError) as caught:
                call(wanted)
            told.append(str(caught.value.body).replace(wanted, "ID"))
        assert told[0] == told[1]
    own = bob.create(name="bob's")
    with pytest.raises(openai.NotFoundError) as caught:
        bob.files.create(own.id, file_id=file.id)
    assert caught.value.code == "file_not_found"
    assert [one.id for one in bob.list()] == [own.id]
    bob.delete(own.id)


def test_a_shared_store_is_read_and_never_written(served: Served) -> None:
    (shared,) = [one for one in served.alice.vector_stores.list() if one.name == "handbook"]
    assert [r.filename for r in served.alice.vector_stores.search(shared.id, query="lamp")]
    (file,) = served.alice.vector_stores.files.list(shared.id)
    mine = served.alice.files.create(file=("a.md", b"x"), purpose="assistants")
    for write in (
        lambda: served.alice.vector_stores.update(shared.id, name="mine"),
        lambda: served.alice.vector_stores.delete(shared.id),
        lambda: served.alice.vector_stores.files.create(shared.id, file_id=mine.id),
        lambda: served.alice.vector_stores.files.delete(file.id, vector_store_id=shared.id),
        lambda: served.alice.vector_stores.file_batches.create(shared.id, file_ids=[mine.id]),
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            write()
        assert caught.value.code == "permission_denied"
    with pytest.raises(openai.NotFoundError):
        served.alice.files.retrieve(file.id)  # the object is its owner's
    with pytest.raises(openai.NotFoundError):
        served.bob.vector_stores.retrieve(shared.id)


def test_an_ensemble_searches_the_private_store_of_a_conversation(
    served: Served, store: str
) -> None:
    put(served, store, "lamp.md", LAMP)
    question: list[Any] = [{"role": "user", "content": "What colour is the lamp of the router?"}]
    body = {"ensemble": {"vector_store_ids": [store]}}
    answer = served.alice.chat.completions.create(model="fake", messages=question, extra_body=body)
    sources = answer.model_extra["ensemble"]["sources"]
    assert {source["filename"] for source in sources} == {"lamp.md"}
    for wanted in (store, "vs_000000000000000000000000"):
        body = {"ensemble": {"vector_store_ids": [wanted]}}
        with pytest.raises(openai.NotFoundError) as caught:
            served.bob.chat.completions.create(model="fake", messages=question, extra_body=body)
        assert caught.value.code == "vector_store_not_found"


def test_polling_is_told_when_to_ask_again(served: Served, store: str) -> None:
    file = put(served, store, "lamp.md", LAMP)
    answer = served.http.get(f"/v1/vector_stores/{store}/files/{file.id}")
    assert int(answer.headers["openai-poll-after-ms"]) < 1000
