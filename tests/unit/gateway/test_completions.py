"""Text completions into the engines' terms, and their log probabilities back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.choices import Answer
from gateway.convert.completions import (
    LogprobsWriter,
    completion_requests,
    likeliest,
    whole_logprobs,
)
from gateway.echo import Echo
from gateway.schema.completions import CompletionRequest
from models.settings import ModelSettings
from models.types import Constraint, GenerateEnd, TextPrompt, TokenLogprob, TokenPrompt, Usage

SETTINGS = ModelSettings(id="m", kind="fake")


def completion(**fields: Any) -> CompletionRequest:
    body = {"model": "m", "prompt": "x", **fields}
    return msgspec.json.decode(msgspec.json.encode(body), type=CompletionRequest)


def answer(*logprobs: float) -> Answer:
    tokens = [TokenLogprob(b"x", value) for value in logprobs]
    return Answer(str(logprobs), tokens, GenerateEnd("stop", Usage()))


def test_every_prompt_is_drawn_best_of_times() -> None:
    found = completion_requests(completion(prompt=["a", "b"], best_of=3, seed=7), SETTINGS, "ann")
    assert [one.prompt for one in found] == [TextPrompt("a")] * 3 + [TextPrompt("b")] * 3
    assert [one.sampling.seed for one in found] == [7, 8, 9] * 2
    assert {one.sampling.logprobs for one in found} == {0}  # to tell which is best
    assert {(one.owner, one.max_tokens, one.whole) for one in found} == {("ann", 16, True)}


def test_token_ids_are_one_prompt_or_several() -> None:
    (one,) = completion_requests(completion(prompt=[1, 2], logprobs=4), SETTINGS, "ann")
    assert one.prompt == TokenPrompt((1, 2))
    assert one.sampling.logprobs == 4
    two = completion_requests(completion(prompt=[[1], [2]]), SETTINGS, "ann")
    assert [one.prompt for one in two] == [TokenPrompt((1,)), TokenPrompt((2,))]
    assert two[0].sampling.logprobs is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"regex": "a+"}, Constraint("regex", "a+")),
        ({"grammar": 'start: "a"'}, Constraint("lark", 'start: "a"')),
        ({"grammar": 'root ::= "a"'}, Constraint("gbnf", 'root ::= "a"')),
        ({"grammar": '# x\n  root  ::= "a"'}, Constraint("gbnf", '# x\n  root  ::= "a"')),
        ({"grammar": 'start: "::="'}, Constraint("lark", 'start: "::="')),
        ({"grammar": 'start: x\nx\n::= "a"'}, Constraint("lark", 'start: x\nx\n::= "a"')),
        ({"grammar": "\n" * 32_000}, Constraint("lark", "\n" * 32_000)),
        ({"grammar": "\n" * 31_000 + "a ::= b"}, Constraint("gbnf", "\n" * 31_000 + "a ::= b")),
        ({"grammar": " " * 32_000}, Constraint("lark", " " * 32_000)),
        ({"grammar": "a" * 32_000}, Constraint("lark", "a" * 32_000)),
        ({"grammar": {"type": "lark", "value": "x ::="}}, Constraint("lark", "x ::=")),
        ({}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_grammar_is_told_by_its_notation(fields: Any, expected: Constraint | None) -> None:
    (found,) = completion_requests(completion(**fields), SETTINGS, "ann")
    named = expected and msgspec.structs.replace(expected, param=next(iter(fields)))
    assert found.constraint == named


@pytest.mark.parametrize(
    ("text", "first", "rest", "offsets"),
    [
        ("ab c", b"ab", [b" c", b"!"], [0, 2, 4]),
        ("ab c", b"<s>", [b"ab", b" c", b"!"], [0, 0, 2, 4]),  # a BOS is no part of the text
        ("ab c", b"<s>", [b" ab", b" c", b"!"], [0, 0, 2, 4]),  # nor is a space put before it
        ("<s>é", b"<s>", [b"\xc3", b"\xa9", b"!"], [0, 3, 3, 4]),
        ("a", b"a", [b"!"], [0, 1]),
    ],
)
def test_an_echo_s_tokens_begin_where_its_text_has_them(
    text: str, first: bytes, rest: list[bytes], offsets: list[int]
) -> None:
    *prompt, drawn = [TokenLogprob(piece, -1.0) for piece in rest]
    end = GenerateEnd("length", Usage())
    found = whole_logprobs(Echo(text, first, prompt, end), Answer("!", [drawn], end))
    assert found.text_offset == offsets
    assert found.token_logprobs == [None, *([-1.0] * len(rest))]
    assert found.tokens[-1] == "!"


def test_none_of_the_mass_is_the_likeliest_token() -> None:
    (one,) = completion_requests(completion(top_p=0, top_k=5), SETTINGS, "ann")
    assert one.sampling.top_k == 1


def test_the_likeliest_are_found_by_their_mean() -> None:
    long, short, sure = answer(-1, -1, -1, -1), answer(-2), answer(-0.5)
    assert likeliest([long, short, sure], 2) == [sure, long]
    assert likeliest([short, sure], 2) == [short, sure]


@given(st.text(max_size=12), st.lists(st.integers(1, 5), max_size=40), st.booleans())
def test_offsets_point_at_their_tokens(text: str, cuts: list[int], split: bool) -> None:
    raw = text.encode("utf-8", "replace")
    text = raw.decode()
    pieces: list[bytes] = []
    for size in cuts:
        pieces, raw = [*pieces, raw[:size]], raw[size:]
    pieces = [piece for piece in [*pieces, raw] if piece]
    tokens = [TokenLogprob(piece, -1.0, ((piece, -1.0), (b"other", -2.0))) for piece in pieces]
    writer = LogprobsWriter()
    parts = [tokens[:3], tokens[3:]] if split else [tokens]
    found = [writer.write(part) for part in parts]
    offsets = [offset for part in found for offset in part.text_offset]
    assert offsets == sorted(offsets)
    for piece, offset in zip(pieces, offsets, strict=True):
        try:
            assert text[offset:].startswith(piece.decode())
        except UnicodeDecodeError:
            assert offset <= len(text)
    for part in found:
        for token, best in zip(part.tokens, part.top_logprobs, strict=True):
            assert best[token] == -1.0
