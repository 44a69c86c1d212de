"""Embeddings in every form of input and of answer."""

import asyncio
import base64
import math
import struct
from typing import Any

import httpx
import openai
import pytest

from tests.contract.conftest import Gateway


@pytest.fixture(params=["fake", "local", "gguf"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Everything that embeds: the fake engine, sentence-transformers and llama.cpp."""
    return request.getfixturevalue(f"{request.param}_gateway")


TEXTS = ["the cat sat", "the dog ran", "stocks fell sharply"]


def test_the_client_default_and_its_order(gateway: Gateway) -> None:
    found = gateway.client.embeddings.create(model=gateway.embedding_model, input=TEXTS)
    assert [item.index for item in found.data] == [0, 1, 2]
    assert found.object == "list"
    assert found.model == gateway.embedding_model
    assert found.usage.prompt_tokens == found.usage.total_tokens > 0
    for text, item in zip(TEXTS, found.data, strict=True):
        assert len(item.embedding) == gateway.dimension
        assert math.hypot(*item.embedding) == pytest.approx(1, abs=1e-3)
        alone = gateway.client.embeddings.create(model=gateway.embedding_model, input=text)
        assert alone.data[0].embedding == pytest.approx(item.embedding, abs=1e-4)


async def test_the_asynchronous_client(gateway: Gateway) -> None:
    expected = gateway.client.embeddings.create(model=gateway.embedding_model, input=TEXTS)
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="none", max_retries=0
    ) as client:
        found = await asyncio.gather(
            *(client.embeddings.create(model=gateway.embedding_model, input=text) for text in TEXTS)
        )
    for one, item in zip(found, expected.data, strict=True):
        assert len(one.data[0].embedding) == gateway.dimension
        assert one.data[0].embedding == pytest.approx(item.embedding, abs=1e-4)


def test_floats_are_the_default_on_the_wire_and_base64_is_the_same(gateway: Gateway) -> None:
    def post(**fields: Any) -> Any:
        body = {"model": gateway.embedding_model, "input": "the cat", **fields}
        return gateway.http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]

    plain, floats, packed = post(), post(encoding_format="float"), post(encoding_format="base64")
    assert plain == pytest.approx(floats)
    values = struct.unpack(f"<{gateway.dimension}f", base64.b64decode(packed))
    assert list(values) == pytest.approx(floats)


def test_the_sdk_takes_every_parameter(gateway: Gateway) -> None:
    create, model = gateway.client.embeddings.create, gateway.embedding_model
    tokens: list[list[int]] = [[0, 1], [2]]
    for given, count in (("text", 1), (TEXTS, 3), (tokens[0], 1), (tokens, 2)):
        packed = create(model=model, input=given, encoding_format="base64", user="me")
        floats = create(model=model, input=given, encoding_format="float", dimensions=8)
        assert len(packed.data) == len(floats.data) == count
        for whole, short in zip(packed.data, floats.data, strict=True):
            # Asked for by name, base64 is what the SDK returns.
            text: Any = whole.embedding
            head = struct.unpack(f"<{gateway.dimension}f", base64.b64decode(text))[:8]
            norm = math.hypot(*head) or 1.0
            assert short.embedding == pytest.approx([x / norm for x in head], abs=1e-3)


def test_dimensions(gateway: Gateway) -> None:
    full = gateway.client.embeddings.create(model=gateway.embedding_model, input=TEXTS[0])
    for size in (gateway.dimension, gateway.dimension - 1):
        cut = gateway.client.embeddings.create(
            model=gateway.embedding_model, input=TEXTS[0], dimensions=size
        )
        head = full.data[0].embedding[:size]
        norm = math.hypot(*head)
        expected = [x / norm for x in head]
        assert cut.data[0].embedding == pytest.approx(expected, abs=1e-3)


def test_token_ids(gateway: Gateway) -> None:
    # Ids are the model's own; 0 to 2 are in every vocabulary here.
    def post(given: list[int] | list[list[int]]) -> httpx.Response:
        body = {"model": gateway.embedding_model, "input": given}
        return gateway.http.post("/v1/embeddings", json=body)

    for given, count in (([0], 1), ([[1], [0, 2]], 2)):
        found = post(given).json()
        assert [item["index"] for item in found["data"]] == list(range(count))
        assert found["usage"]["prompt_tokens"] > 0
    refused = post([[0], [10_000_000]])
    assert refused.status_code == 400
    assert "10000000" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 100_000}, "dimensions"),
        ({"dimensions": "3"}, "dimensions"),
    ],
)
def test_what_is_refused_names_the_parameter(
    gateway: Gateway, fields: dict[str, Any], param: str
) -> None:
    body = {"model": gateway.embedding_model, "input": "a", **fields}
    answer = gateway.http.post("/v1/embeddings", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_unknown_model_is_a_404(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        gateway.client.embeddings.create(model="nope", input="a")
