"""POST /v1/completions through the official SDK."""

from collections import defaultdict
from typing import Any

import openai
import pytest

from tests.contract.conftest import Gateway

PROMPT = "zero one two"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 6}


def test_a_text_is_continued(gateway: Gateway) -> None:
    found = gateway.client.completions.create(model=gateway.chat_model, prompt=PROMPT, **GREEDY)
    assert found.object == "text_completion"
    assert found.id.startswith("cmpl-")
    (choice,) = found.choices
    assert choice.index == 0
    assert choice.text
    assert choice.finish_reason in ("stop", "length")
    assert choice.logprobs is None
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_sixteen_tokens_are_the_default(local_gateway: Gateway) -> None:
    found = local_gateway.client.completions.create(
        model=local_gateway.chat_model, prompt="Once upon a time", extra_body={"ignore_eos": True}
    )
    assert found.usage is not None
    assert found.usage.completion_tokens == 16
    assert found.choices[0].finish_reason == "length"


def test_no_chat_template_comes_between(local_gateway: Gateway) -> None:
    found = local_gateway.client.completions.create(
        model=local_gateway.chat_model, prompt="The capital of France is", **GREEDY
    )
    assert "Paris" in found.choices[0].text
    tokens = local_gateway.http.post(
        "/tokenize",
        json={"model": local_gateway.chat_model, "prompt": "The capital of France is"},
    )
    assert found.usage is not None
    assert found.usage.prompt_tokens == tokens.json()["count"]


async def test_the_asynchronous_client(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
        whole = await client.completions.create(model=gateway.chat_model, prompt=PROMPT, **GREEDY)
        text = ""
        async for chunk in await client.completions.create(
            model=gateway.chat_model, prompt=PROMPT, stream=True, **GREEDY
        ):
            text += chunk.choices[0].text
    assert text == whole.choices[0].text


@pytest.mark.parametrize("logprobs", [None, 2])
def test_a_stream_is_the_same_answer(gateway: Gateway, logprobs: int | None) -> None:
    given: dict[str, Any] = {
        "model": gateway.chat_model,
        "prompt": PROMPT,
        "logprobs": logprobs,
        **GREEDY,
    }
    whole = gateway.client.completions.create(**given)
    texts: defaultdict[int, str] = defaultdict(str)
    offsets: defaultdict[int, list[int]] = defaultdict(list)
    reasons: dict[int, str] = {}
    usages: list[Any] = []
    for chunk in gateway.client.completions.create(
        **given, stream=True, stream_options={"include_usage": True}
    ):
        assert chunk.object == "text_completion"
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.logprobs is not None:
                offsets[choice.index] += choice.logprobs.text_offset or []
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert [texts[choice.index] for choice in whole.choices] == [c.text for c in whole.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    assert len(usages) == 1
    assert whole.usage is not None
    assert usages[0].total_tokens == whole.usage.total_tokens
    for choice in whole.choices:
        assert offsets[choice.index] == (choice.logprobs.text_offset if choice.logprobs else [])


def test_prompts_times_n_are_numbered_by_prompt(fake_gateway: Gateway) -> None:
    client, model = fake_gateway.client.completions, fake_gateway.chat_model
    given: dict[str, Any] = {"model": model, "prompt": [PROMPT, "two one"], "n": 2}
    found = client.create(**given)
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in found.choices] == [PROMPT, PROMPT, "two one", "two one"]
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (3 + 2, 2 * (3 + 2))
    texts: defaultdict[int, str] = defaultdict(str)
    for chunk in client.create(**given, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == {choice.index: choice.text for choice in found.choices}


def test_more_than_run_at_once_are_all_answered(gateway: Gateway) -> None:
    found = gateway.client.completions.create(
        model=gateway.chat_model, prompt=[PROMPT] * 40, n=3, max_tokens=1
    )
    assert len(found.choices) == 120


def test_token_ids_are_prompts(gateway: Gateway) -> None:
    answer = gateway.http.post("/tokenize", json={"model": gateway.chat_model, "prompt": PROMPT})
    ids = answer.json()["tokens"]
    text = gateway.client.completions.create(
        model=gateway.chat_model, prompt=PROMPT, echo=True, **GREEDY
    )
    for prompt in (ids, [ids]):
        found = gateway.client.completions.create(
            model=gateway.chat_model, prompt=prompt, echo=True, **GREEDY
        )
        assert found.choices[0].text.startswith(PROMPT)
        assert found.usage is not None
        assert text.usage is not None
        assert found.usage.prompt_tokens == text.usage.prompt_tokens


def test_echo_repeats_the_prompt(gateway: Gateway) -> None:
    given: dict[str, Any] = {"model": gateway.chat_model, "prompt": PROMPT, **GREEDY}
    plain = gateway.client.completions.create(**given)
    echoed = gateway.client.completions.create(**given, echo=True)
    assert echoed.choices[0].text == PROMPT + plain.choices[0].text
    streamed = gateway.client.completions.create(**given, echo=True, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == echoed.choices[0].text


RATED = ["The café costs 3 €.", "One"]


@pytest.mark.parametrize("drawn", [0, 2])
def test_an_echoed_prompt_is_rated(local_gateway: Gateway, drawn: int) -> None:
    """As lm-evaluation-harness asks for it."""
    client, model = local_gateway.client.completions, local_gateway.chat_model
    given: dict[str, Any] = {"model": model, "echo": True, "logprobs": 2, "temperature": 0}
    found = client.create(**given, prompt=RATED, max_tokens=drawn)
    assert found.usage is not None
    tokens = local_gateway.http.post("/tokenize", json={"model": model, "content": RATED[0]})
    ids = tokens.json()["tokens"]
    assert found.usage.prompt_tokens == len(ids) + 1
    assert found.usage.completion_tokens <= 2 * drawn
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cached_tokens == 0
    for prompt, choice in zip(RATED, found.choices, strict=True):
        rated = choice.logprobs
        assert rated is not None
        assert rated.tokens
        assert rated.token_logprobs
        assert rated.top_logprobs
        assert rated.text_offset
        assert choice.text.startswith(prompt)
        assert (choice.text == prompt) == (drawn == 0)
        assert (rated.token_logprobs[0], rated.top_logprobs[0]) == (None, None)
        for token, value, best, offset in list(
            zip(
                rated.tokens,
                rated.token_logprobs,
                rated.top_logprobs,
                rated.text_offset,
                strict=True,
            )
        )[1:]:
            assert best[token] == value <= 0
            assert len(best) in (2, 3)
            assert token.startswith("bytes:") or choice.text[offset:].startswith(token)
    if not drawn:
        assert {choice.finish_reason for choice in found.choices} == {"length"}
    (by_ids,) = client.create(**given, prompt=ids, max_tokens=drawn).choices
    first = found.choices[0].logprobs
    assert first is not None
    assert first.token_logprobs is not None
    assert by_ids.text == found.choices[0].text
    assert by_ids.logprobs is not None
    assert by_ids.logprobs.tokens == first.tokens
    assert by_ids.logprobs.token_logprobs is not None
    assert by_ids.logprobs.token_logprobs[1:] == pytest.approx(first.token_logprobs[1:], abs=0.1)


def test_a_rated_prompt_is_streamed_before_its_answer(local_gateway: Gateway) -> None:
    given: dict[str, Any] = {"model": local_gateway.chat_model, "prompt": RATED[0]}
    given |= {"echo": True, "logprobs": 0, "temperature": 0, "max_tokens": 2}
    whole = local_gateway.client.completions.create(**given).choices[0]
    chunks = [
        chunk.choices[0] for chunk in local_gateway.client.completions.create(**given, stream=True)
    ]
    assert chunks[0].text == RATED[0]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert whole.logprobs is not None
    rated = [chunk.logprobs for chunk in chunks if chunk.logprobs is not None]
    assert [token for each in rated for token in each.tokens or []] == whole.logprobs.tokens
    assert [at for each in rated for at in each.text_offset or []] == whole.logprobs.text_offset


def test_who_cannot_rate_a_prompt_says_so(fake_gateway: Gateway) -> None:
    body = {"model": fake_gateway.chat_model, "prompt": PROMPT, "echo": True, "logprobs": 1}
    answer = fake_gateway.http.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "echo"


@pytest.mark.parametrize("top", [0, 3])
def test_logprobs_have_the_old_form(local_gateway: Gateway, top: int) -> None:
    choice = local_gateway.client.completions.create(
        model=local_gateway.chat_model, prompt="Three colours: ", logprobs=top, max_tokens=8
    ).choices[0]
    found = choice.logprobs
    assert found is not None
    assert found.tokens
    assert found.token_logprobs
    assert found.top_logprobs
    assert found.text_offset
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == 8
    for token, value, best, offset in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, found.text_offset, strict=True
    ):
        assert best[token] == pytest.approx(value)
        assert max(top, 1) <= len(best) <= top + 1
        if not token.startswith("bytes:"):
            assert choice.text[offset:].startswith(token)


def test_best_of_gives_the_likeliest_first(local_gateway: Gateway) -> None:
    found = local_gateway.client.completions.create(
        model=local_gateway.chat_model,
        prompt="A short story:",
        max_tokens=8,
        temperature=1.5,
        n=2,
        best_of=4,
        logprobs=0,
        extra_body={"ignore_eos": True},
    )
    means = [sum(c.logprobs.token_logprobs or [0]) for c in found.choices if c.logprobs]  # type: ignore[arg-type]
    assert len(means) == 2
    assert means == sorted(means, reverse=True)
    assert found.usage is not None
    assert found.usage.completion_tokens == 4 * 8  # all four were made


def test_a_stop_string_ends_the_text_before_it(gateway: Gateway) -> None:
    given: dict[str, Any] = {"model": gateway.chat_model, "prompt": PROMPT, **GREEDY}
    text = gateway.client.completions.create(**given).choices[0].text
    stop = text.split()[1]
    found = gateway.client.completions.create(**given, stop=stop).choices[0]
    assert found.text == text[: text.index(stop)]
    assert found.finish_reason == "stop"


def test_a_regular_expression_and_a_grammar_are_followed(local_gateway: Gateway) -> None:
    client, model = local_gateway.client.completions, local_gateway.chat_model
    given: dict[str, Any] = {"model": model, "prompt": "Answer:", "temperature": 2}
    found = client.create(**given, extra_body={"regex": "(yes|no), [0-9]{3}"}).choices[0]
    assert found.text[:2] in ("ye", "no")
    assert found.finish_reason == "stop"
    for grammar in (
        'start: "up" | "down"',
        'root ::= way\nway ::= "up" | "down"',
        {"type": "gbnf", "value": 'root ::= "up" | "down"'},
        {"type": "lark", "value": 'start: "up" | "down"'},
    ):
        assert client.create(**given, extra_body={"grammar": grammar}).choices[0].text in (
            "up",
            "down",
        )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [["a"]]}, "prompt[0][0]"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [2**31 - 1]}, "prompt"),
        ({"prompt": ["a"] * 1025}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 11}, "prompt"),
        ({"prompt": "word " * 20_000}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True, "logprobs": 6}, "logprobs"),
        ({"echo": True, "logprobs": 1, "suffix": "end"}, "suffix"),
        ({"echo": True, "logprobs": 1, "prompt": ["a", ""]}, "prompt"),
        ({"echo": True, "prompt": [2**31 - 1]}, "prompt"),
        ({"echo": True, "logprobs": 1, "prompt": [0, 2**31 - 1]}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"best_of": 129}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"grammar": 'start: "x"', "regex": "x"}, "grammar"),
        ({"regex": "x", "ignore_eos": True}, "ignore_eos"),
        ({"temperature": 2.5}, "temperature"),
        ({"stop": ["x"] * 5}, "stop"),
        ({"model": "nope"}, "model"),
    ],
)
def test_what_is_refused_names_the_parameter(
    gateway: Gateway, fields: dict[str, Any], param: str
) -> None:
    body = {"model": gateway.chat_model, "prompt": PROMPT, **fields}
    answer = gateway.http.post("/v1/completions", json=body)
    assert answer.status_code == (404 if "model" in fields else 400), answer.text
    assert answer.json()["error"]["param"] == param


def test_an_embedder_does_not_write(local_gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        local_gateway.client.completions.create(model=local_gateway.embedding_model, prompt=PROMPT)
    assert caught.value.param == "model"


def test_a_text_completion_follows_a_format(local_gateway: Gateway) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["up", 1]}}}
    for seed in range(3):
        found = local_gateway.client.completions.create(
            model=local_gateway.chat_model,
            prompt="Once upon a time",
            temperature=2,
            seed=seed,
            extra_body={"response_format": wanted},
        )
        assert found.choices[0].text in ('"up"', "1")
    with pytest.raises(openai.BadRequestError) as caught:
        local_gateway.client.completions.create(
            model=local_gateway.chat_model,
            prompt="Once",
            extra_body={"response_format": {"type": "json_object"}, "regex": "a"},
        )
    assert caught.value.param == "regex"
