"""POST /tokenize and /detokenize, in both dialects."""

from typing import Any

import httpx
import pytest

from tests.contract.conftest import Gateway

TEXT = "zero one two"
TOOL = {"type": "function", "function": {"name": "f"}}


def post(gateway: Gateway, path: str, **fields: Any) -> httpx.Response:
    return gateway.http.post(path, json={"model": gateway.chat_model, **fields})


def test_llama_servers_dialect(gateway: Gateway) -> None:
    answer = post(gateway, "/tokenize", content=TEXT).json()
    assert set(answer) == {"tokens"}
    back = post(gateway, "/detokenize", tokens=answer["tokens"]).json()
    assert back["content"] == TEXT
    pieces = post(gateway, "/tokenize", content=TEXT, with_pieces=True).json()["tokens"]
    assert [each["id"] for each in pieces] == answer["tokens"]
    assert "".join(each["piece"] for each in pieces) == TEXT


def test_vllms_dialect(gateway: Gateway) -> None:
    answer = post(gateway, "/tokenize", prompt=TEXT, return_token_strs=True).json()
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == 256
    assert post(gateway, "/tokenize", prompt=TEXT).json()["token_strs"] is None
    back = post(gateway, "/detokenize", tokens=answer["tokens"]).json()
    assert back["prompt"] == TEXT


@pytest.mark.parametrize("name", ["with_pieces", "return_token_strs"])
def test_both_names_ask_for_pieces_in_both_dialects(gateway: Gateway, name: str) -> None:
    pieces = post(gateway, "/tokenize", content=TEXT, **{name: True}).json()["tokens"]
    assert "".join(each["piece"] for each in pieces) == TEXT
    strings = post(gateway, "/tokenize", prompt=TEXT, **{name: True}).json()["token_strs"]
    assert "".join(strings).endswith(TEXT)


def test_messages_are_rendered(gateway: Gateway) -> None:
    messages: Any = [{"role": "user", "content": TEXT}]
    answer = post(gateway, "/tokenize", messages=messages).json()
    found = gateway.client.chat.completions.create(
        model=gateway.chat_model, messages=messages, max_tokens=1
    )
    assert found.usage is not None
    assert answer["count"] == found.usage.prompt_tokens


def test_control_tokens_are_spelled_only_on_request(local_gateway: Gateway) -> None:
    marker = "<|im_end|>"
    for form in ("content", "prompt"):
        as_text = post(local_gateway, "/tokenize", **{form: marker}).json()["tokens"]
        assert len(as_text) > 1
        special = post(local_gateway, "/tokenize", **{form: marker}, parse_special=True).json()
        assert len(special["tokens"]) == 1
        for tokens in (as_text, special["tokens"]):
            back = post(local_gateway, "/detokenize", tokens=tokens).json()
            assert back["content"] == marker


def test_bytes_that_are_no_characters_are_given_as_such(local_gateway: Gateway) -> None:
    pieces = post(local_gateway, "/tokenize", content="🦜", with_pieces=True).json()["tokens"]
    raw = [bytes(p) if isinstance(p := each["piece"], list) else p.encode() for each in pieces]
    assert b"".join(raw).decode() == "🦜"
    assert any(isinstance(each["piece"], list) for each in pieces)


def test_an_embedders_words(local_gateway: Gateway) -> None:
    model = local_gateway.embedding_model
    answer = local_gateway.http.post("/tokenize", json={"model": model, "prompt": "two birds"})
    full = answer.json()["tokens"]
    answer = local_gateway.http.post(
        "/tokenize", json={"model": model, "content": "two birds", "with_pieces": True}
    )
    assert [each["id"] for each in answer.json()["tokens"]] == full[1:-1]
    assert [each["piece"] for each in answer.json()["tokens"]] == ["two", "birds"]
    back = local_gateway.http.post("/detokenize", json={"model": model, "tokens": full}).json()
    assert back["content"] == "[CLS] two birds [SEP]"
    marked = local_gateway.http.post("/tokenize", json={"model": model, "content": "[SEP]"}).json()
    assert len(marked["tokens"]) > 1


def test_the_only_model_need_not_be_named(watched: httpx.Client, gateway: Gateway) -> None:
    assert watched.post("/tokenize", json={"content": TEXT}).json()["tokens"] == [0, 1, 2]
    assert watched.post("/detokenize", json={"tokens": [2]}).json()["content"] == " two"
    for path, body in (("/tokenize", {"content": TEXT}), ("/detokenize", {"tokens": [1]})):
        answer = gateway.http.post(path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": "a", "prompt": "b"}, "prompt"),
        ("/tokenize", {"content": 3}, "content"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("/tokenize", {"content": "a", "add_generation_prompt": False}, "add_generation_prompt"),
        ("/tokenize", {"content": "a", "add_special": "yes"}, "add_special"),
        (
            "/tokenize",
            {"prompt": "a", "add_special": True, "add_special_tokens": False},
            "add_special",
        ),
        (
            "/tokenize",
            {"messages": [{"role": "user", "content": "x"}], "parse_special": True},
            "parse_special",
        ),
        ("/tokenize", {"content": "a", "tools": [TOOL]}, "tools"),
        ("/tokenize", {"prompt": "a", "reasoning_effort": "low"}, "reasoning_effort"),
        ("/tokenize", {"prompt": "a", "chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        (
            "/tokenize",
            {"content": "a", "with_pieces": True, "return_token_strs": False},
            "with_pieces",
        ),
        ("/tokenize", {"content": "a" * 4_000_001}, "content"),
        ("/tokenize", {"prompt": "a" * 4_000_001}, "prompt"),
        ("/tokenize", {"messages": [{"role": "user", "content": "a" * 4_000_001}]}, "messages"),
        ("/detokenize", {"tokens": [0] * 1_000_001}, "tokens"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [2**31 - 1]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("/tokenize", {"model": "nope", "content": "a"}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_refused_names_the_parameter(
    gateway: Gateway, path: str, fields: dict[str, Any], param: str
) -> None:
    answer = post(gateway, path, **fields)
    assert answer.status_code == (404 if "model" in fields else 400), answer.text
    assert answer.json()["error"]["param"] == param
