"""Models, health, documentation pages, and what holds for every answer."""

import re
from urllib.parse import quote

import httpx
import openai
import pytest

from tests.contract.conftest import SLASHED, Gateway


def test_the_list_and_each_model(gateway: Gateway) -> None:
    found = list(gateway.client.models.list())
    assert gateway.chat_model in [model.id for model in found]
    for model in found:
        assert gateway.client.models.retrieve(model.id) == model
        assert model.object == "model"
        assert model.owned_by
        assert model.created > 0
        assert model.model_extra is not None
        assert model.model_extra["state"] == "ready"
        assert model.model_extra["provider"] == "local"
    raw = gateway.http.get("/v1/models").json()
    assert raw["object"] == "list"
    assert all("pipeline" not in model for model in raw["data"])


def test_how_many_weights_a_model_has_is_read_off_its_file(local_gateway: Gateway) -> None:
    found = local_gateway.http.get(f"/v1/models/{local_gateway.chat_model}").json()
    assert found["parameters"] == pytest.approx(135e6, rel=0.01)
    assert found["parameters_estimated"] is False


def test_the_gateway_tells_its_own_memory(fake_gateway: Gateway) -> None:
    text = fake_gateway.http.get("/metrics").text
    sizes = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes")]
    assert float(sizes[0].split()[1]) > 2**20


def test_an_id_may_have_a_slash(gateway: Gateway) -> None:
    for path in (SLASHED, quote(SLASHED, safe="")):
        answer = gateway.http.get(f"/v1/models/{path}")
        assert answer.status_code == 200
        assert answer.json()["id"] == SLASHED


def test_an_unknown_model(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        gateway.client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


def test_health_and_readiness(gateway: Gateway) -> None:
    health = gateway.http.get("/health").json()
    assert health["status"] == "ok"
    assert health["models"][gateway.chat_model]["state"] == "ready"
    assert gateway.http.get("/ready").json() == {"status": "ok"}


def test_the_root_leads_to_the_docs(gateway: Gateway) -> None:
    answer = gateway.http.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/docs"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_and_their_scripts_are_served_here(gateway: Gateway, page: str) -> None:
    answer = gateway.http.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    sources = re.findall(r'(?:src|href)="(static/[^"]+)"', answer.text)
    assert sources
    for source in sources:
        assert gateway.http.get(f"/{source}").status_code == 200


def test_the_document(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/chat/completions" in document["paths"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/nope", 404),
        ("GET", "/static/nope.js", 404),
        ("GET", "/static/../../pyproject.toml", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
    ],
)
def test_every_error_has_the_same_body(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = gateway.http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


def test_a_sane_request_id_comes_back(gateway: Gateway) -> None:
    def ask(value: str) -> str:
        answer: httpx.Response = gateway.http.get("/health", headers={"x-request-id": value})
        return answer.headers["x-request-id"]

    assert ask("mine-1") == "mine-1"
    assert ask("not sane") != "not sane"
    assert len(gateway.http.get("/health").headers.get_list("x-request-id")) == 1
