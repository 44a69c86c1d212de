"""Prompts that a text completion repeats before its answer, rated token by token if asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.choices import Answer, collect, generate
from gateway.errors import BadRequest
from models.engine import Engine
from models.errors import InvalidRequest, Unsupported
from models.types import (
    GenerateEnd,
    GenerateRequest,
    Prompt,
    TextPrompt,
    Timings,
    TokenizeRequest,
    TokenLogprob,
    TokenPrompt,
    Usage,
)

__all__ = ["Echo", "echoes", "with_rating"]


@dataclass(frozen=True)
class Echo:
    """A prompt as text. Rated, it has the bytes of its `first` token, which follows nothing and so
    has no probability, the log probabilities of the `rest`, and the `end` of that work.
    """

    text: str
    first: bytes = b""
    rest: Sequence[TokenLogprob] = ()
    end: GenerateEnd | None = None


async def echoes(
    engine: Engine, requests: Sequence[GenerateRequest], at_once: int, *, rated: bool
) -> list[Echo]:
    """Each request's prompt; those alike are spelled and rated once. Raises BadRequest."""
    prompts = list(dict.fromkeys(request.prompt for request in requests))
    try:
        if rated:
            by_prompt = {request.prompt: request for request in reversed(requests)}
            asked = [by_prompt[prompt] for prompt in prompts]
            found = await _rated(engine, asked, at_once)
        else:
            found = [Echo(await _text(engine, prompt)) for prompt in prompts]
    except Unsupported as error:
        if error.param == "model":
            raise
        message = f"'echo' with 'logprobs' is not to be had here: {error}"
        raise BadRequest(message, "echo", "unsupported_parameter") from error
    except InvalidRequest as error:
        if error.param != "tokens":
            raise
        raise BadRequest(str(error), "prompt") from error
    known = dict(zip(prompts, found, strict=True))
    return [known[request.prompt] for request in requests]


def with_rating(usage: Usage, timings: Timings, echoed: Sequence[Echo]) -> tuple[Usage, Timings]:
    """What the answers cost and took, where their prompts were rated: these were computed then."""
    ends = [echo.end for echo in echoed if echo.end is not None]
    if not ends:
        return usage, timings
    took_ms = max(end.timings.prefill_ms + end.timings.decode_ms for end in ends)
    return (
        msgspec.structs.replace(usage, cached_tokens=0),
        msgspec.structs.replace(timings, prefill_ms=timings.prefill_ms + took_ms),
    )


async def _rated(engine: Engine, requests: Sequence[GenerateRequest], at_once: int) -> list[Echo]:
    tokens = [await _tokens(engine, request.prompt) for request in requests]
    firsts = [(await engine.spell(ids))[0] for ids in tokens]
    several = [
        _rating(request, ids)
        for request, ids in zip(requests, tokens, strict=True)
        if len(ids) > 1  # nothing follows a single token
    ]
    answers = iter(await collect(generate(engine, several, at_once)) if several else ())
    found: list[Echo] = []
    for request, ids, first in zip(requests, tokens, firsts, strict=True):
        if len(ids) > 1:
            rating = next(answers)
        else:
            rating = Answer("", [], GenerateEnd("length", Usage(prompt_tokens=1)))
        given = request.prompt
        whole = first.decode("utf-8", "replace") + rating.text
        text = given.text if isinstance(given, TextPrompt) else whole
        found.append(Echo(text, first, rating.logprobs, rating.end))
    return found


def _rating(request: GenerateRequest, tokens: Sequence[int]) -> GenerateRequest:
    """The prompt's first token, and the others given to be scored."""
    return msgspec.structs.replace(
        request,
        prompt=TokenPrompt(tuple(tokens[:1])),
        continuation=tuple(tokens[1:]),
        stop=(),
        constraint=None,
        whole=True,
    )


async def _tokens(engine: Engine, prompt: Prompt) -> Sequence[int]:
    """One at least."""
    if isinstance(prompt, TextPrompt):
        if prompt.suffix:
            message = "'suffix' and 'echo' with 'logprobs' exclude each other."
            raise BadRequest(message, "suffix")
        tokens: Sequence[int] = await engine.tokenize(TokenizeRequest(prompt))
    else:
        assert isinstance(prompt, TokenPrompt)
        tokens = prompt.tokens
    if not tokens:
        raise BadRequest("The prompt is empty.", "prompt")
    return tokens


async def _text(engine: Engine, prompt: Prompt) -> str:
    if isinstance(prompt, TextPrompt):
        return prompt.text
    assert isinstance(prompt, TokenPrompt)
    return await engine.detokenize(prompt.tokens, special=True)
