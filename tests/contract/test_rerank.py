"""POST /v1/rerank, over every engine that reranks. The real one's weights are random."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx
import msgspec
import pytest

from gateway.settings import StoreSettings
from models.settings import ModelSettings
from models.upstream_settings import UpstreamSettings
from tests.contract.conftest import Gateway, running
from tests.contract.serving import configuration, serve, wait_ready
from tests.gguf_models import write_bert, write_cross_encoder

DOCUMENTS = ["a cat sat on a mat.", "the dog ran", "a cat", "stocks fell. " * 20]


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, fake_gateway: Gateway
) -> Iterator[tuple[Gateway, list[str]]]:
    """A cross-encoder's folder, the same in GGUF, another Jurat's fake, and one of its own."""
    folder = tmp_path_factory.mktemp("rerank")
    path = write_cross_encoder(folder / "model")
    file = write_bert(folder / "rank.gguf", path, gguf.PoolingType.RANK, 2)
    models = (
        ModelSettings(id="fake", kind="fake"),
        ModelSettings(id="folder", kind="rerank", source=f"file:{path}", threads=1),
        ModelSettings(id="gguf", kind="rerank", source=f"file:{file}", threads=1),
        ModelSettings(
            id="far",
            kind="rerank",
            source=f"upstream:{fake_gateway.url}/v1",
            upstream=UpstreamSettings(server="jurat", model=fake_gateway.chat_model),
        ),
    )
    found = configuration(folder, models=models)
    with running(found, "fake", "fake", 32) as one:
        yield one, [model.id for model in models]


def test_the_best_come_first(gateway: tuple[Gateway, list[str]]) -> None:
    one, models = gateway
    for model in models:
        for path in ("/v1/rerank", "/rerank"):
            body = {"model": model, "query": "a cat", "documents": DOCUMENTS}
            answer = one.http.post(path, json=body)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            scores = [each["relevance_score"] for each in found["results"]]
            assert scores == sorted(scores, reverse=True)
            assert all(0 <= score <= 1 for score in scores)
            assert sorted(each["index"] for each in found["results"]) == [0, 1, 2, 3]
            assert "document" not in found["results"][0]
            assert (found["model"], found["id"][:7]) == (model, "rerank-")
            assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > 0


def test_one_document_has_the_score_it_has_among_others(
    gateway: tuple[Gateway, list[str]],
) -> None:
    one, models = gateway
    for model in models:

        def scores(documents: list[str], model: str = model) -> dict[int, float]:
            body = {"model": model, "query": "who sat?", "documents": documents}
            found = one.http.post("/v1/rerank", json=body).json()["results"]
            return {each["index"]: each["relevance_score"] for each in found}

        together = scores(DOCUMENTS)
        for at, text in enumerate(DOCUMENTS):
            assert scores([text])[0] == pytest.approx(together[at], abs=0.01)


def test_top_n_and_the_documents_themselves(gateway: tuple[Gateway, list[str]]) -> None:
    one, _ = gateway
    body: dict[str, Any] = {"model": "fake", "query": "a cat", "return_documents": True}
    body["documents"] = [{"text": "the dog"}, {"text": "a cat"}, "a dog", "a cat"]
    found = one.http.post("/v1/rerank", json={**body, "top_n": 3}).json()["results"]
    assert [(each["index"], each["document"]["text"]) for each in found] == [
        (1, "a cat"),
        (3, "a cat"),  # of equal ones the earlier is first
        (2, "a dog"),
    ]
    assert len(one.http.post("/v1/rerank", json={**body, "top_n": 99}).json()["results"]) == 4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": None}, "query"),
        ({"query": "x" * 20_001}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": [1]}, "documents[0]"),
        ({"documents": ["a", {}]}, "documents[1].text"),
        ({"documents": ["a"] * 1001}, "documents"),
        ({"documents": ["a", "x" * 500_001]}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "3"}, "top_n"),
        ({"return_documents": 1}, "return_documents"),
        ({"max_tokens_per_doc": 10}, "max_tokens_per_doc"),
        ({"rank_fields": ["text"]}, "rank_fields"),
        ({"model": ""}, "model"),
    ],
)
def test_what_is_refused_names_the_parameter(
    gateway: tuple[Gateway, list[str]], fields: dict[str, Any], param: str
) -> None:
    body = {"model": "folder", "query": "a", "documents": ["a"], **fields}
    answer = gateway[0].http.post("/v1/rerank", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_models_that_do_not_rerank_and_no_models(
    gateway: tuple[Gateway, list[str]], local_gateway: Gateway
) -> None:
    body = {"query": "a", "documents": ["a"]}
    assert gateway[0].http.post("/v1/rerank", json={**body, "model": "no"}).status_code == 404
    for model in (local_gateway.chat_model, local_gateway.embedding_model):
        answer = local_gateway.http.post("/v1/rerank", json={**body, "model": model})
        assert answer.status_code == 400
        assert "does not rerank" in answer.json()["error"]["message"]
    for path, given in (("/v1/embeddings", {"input": "x"}), ("/tokenize", {"prompt": "x"})):
        answer = gateway[0].http.post(path, json={"model": "gguf", **given})
        assert answer.status_code == 400
    kinds = {each["id"]: each["kind"] for each in gateway[0].http.get("/v1/models").json()["data"]}
    assert kinds["folder"] == "rerank"


def test_a_reranker_orders_what_a_search_finds(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in (("a", "A lamp is blue."), ("b", "A lamp is red and round.")):
        (tmp_path / "docs" / f"{name}.txt").write_text(text)
    found = configuration(tmp_path, models=("embedder", "judge"))
    retrieval = msgspec.structs.replace(found.settings.retrieval, reranker="judge")
    stores = [StoreSettings(name="docs", paths=["docs"])]
    settings = msgspec.structs.replace(found.settings, retrieval=retrieval, stores=stores)
    found = msgspec.structs.replace(found, settings=settings)
    with serve(found) as url, httpx.Client(base_url=url, timeout=20) as http:
        wait_ready(http)
        body = {"model": "judge", "query": "A lamp", "documents": ["A lamp is blue.", "x"]}
        scores = http.post("/v1/rerank", json=body).json()["results"]
        store = http.get("/v1/vector_stores").json()["data"][0]["id"]
        hits = http.post(f"/v1/vector_stores/{store}/search", json={"query": "A lamp"}).json()
        said = {hit["content"][0]["text"]: hit["score"] for hit in hits["data"]}
        assert said["A lamp is blue."] == pytest.approx(scores[0]["relevance_score"])
