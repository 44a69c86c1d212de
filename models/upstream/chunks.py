"""The events of another server's stream as deltas. Pure: bytes in, deltas out."""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct

from models.errors import EngineUnavailable, InvalidRequest
from models.types import CallDelta, FinishReason, GenerateDelta, TokenLogprob, Usage
from models.upstream import faults
from models.upstream.faults import Fault

__all__ = ["StreamReader", "estimated_tokens"]

DONE = b"[DONE]"
BYTES_PER_TOKEN = 3  # a guess that is rather too many tokens, in any language
ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "eos_token": "stop",
    "stop_sequence": "stop",
}


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # what OpenRouter and newer vLLMs call it
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Top(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(Struct):
    """OpenAI's newer form is `content`; the other three are the older one, of completions."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cost: float | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


class StreamReader:
    """One answer as it comes. `usage` and `reason` are there when `done`.

    `top` is how many alternatives each token's probability is reported with; None reports none.
    """

    def __init__(self, model: str, top: int | None) -> None:
        self._model = model
        self._top = top
        self.begin()

    def begin(self) -> None:
        """Forget what an attempt that failed has left."""
        self._written = 0  # bytes of all that was said
        self._usage: _Usage | None = None
        self._calls = 0
        self.reason: FinishReason | None = None
        self.done = False

    def read(self, event: bytes) -> GenerateDelta | None:
        """What an event adds to the answer, if anything. Raises Fault."""
        if event.strip() == DONE:
            self.done = True
            return None
        try:
            chunk = _decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise faults.broken(self._model, f"an event is not what it should be: {error}") from (
                error
            )
        if chunk.error is not None:
            raise self._failed(event)
        if chunk.usage is not None:
            self._usage = chunk.usage
        choice = next((each for each in chunk.choices or () if each.index == 0), None)
        if choice is None:
            return None
        delta = self._delta(choice)
        if choice.finish_reason is not None:
            self.reason = self._reason(choice.finish_reason)
        return delta if delta != GenerateDelta("") else None

    @property
    def counted(self) -> bool:
        """Whether the server said how many tokens it read and wrote."""
        found = self._usage
        return (
            found is not None
            and found.prompt_tokens is not None
            and found.completion_tokens is not None
        )

    def usage(self, prompt_bytes: int, input_cost: float, output_cost: float) -> Usage:
        """Token counts, estimated where the server does not say, and what they cost.

        The costs are for a million tokens; where none are set, the server's own figure holds.
        """
        found = self._usage or _Usage()
        read, made = found.prompt_tokens, found.completion_tokens
        before = found.prompt_tokens_details or _Details()
        after = found.completion_tokens_details or _Details()
        read = estimated_tokens(prompt_bytes) if read is None else read
        made = estimated_tokens(self._written) if made is None else made
        cost = (read * input_cost + made * output_cost) / 1e6
        if not (input_cost or output_cost):
            cost = found.cost or 0.0
        return Usage(read, made, before.cached_tokens or 0, after.reasoning_tokens or 0, cost)

    def _delta(self, choice: _Choice) -> GenerateDelta:
        delta = choice.delta or _Delta()
        text = (choice.text or "") + (delta.content or "") + (delta.refusal or "")
        reasoning = delta.reasoning_content or delta.reasoning or ""
        calls = tuple(map(self._call, delta.tool_calls or ()))
        self._written += len(text.encode("utf-8", "replace"))
        self._written += len(reasoning.encode("utf-8", "replace"))
        self._written += sum(len(call.arguments) for call in calls)
        logprobs = () if choice.logprobs is None else self._logprobs(choice.logprobs)
        return GenerateDelta(text, logprobs=logprobs, reasoning=reasoning, calls=calls)

    def _call(self, call: _Call) -> CallDelta:
        function = call.function or _Function()
        if call.id or function.name:
            self._calls += 1
        # Some servers leave out the index, where each call comes whole.
        index = max(0, self._calls - 1) if call.index is None else call.index
        name, given = function.name or "", call.id or ""
        if name and not given:
            given = f"call_{index}"
        return CallDelta(index, given, name, function.arguments or "")

    def _logprobs(self, found: _Logprobs) -> tuple[TokenLogprob, ...]:
        if self._top is None:
            return ()
        top = self._top
        if found.content is not None:
            return tuple(
                TokenLogprob(
                    _piece(each),
                    each.logprob,
                    tuple((_piece(one), one.logprob) for one in (each.top_logprobs or ())[:top]),
                )
                for each in found.content
            )
        tokens = found.tokens or ()
        rated = found.token_logprobs or [None] * len(tokens)
        others = found.top_logprobs or [None] * len(tokens)
        return tuple(
            TokenLogprob(_spelled(token), value or 0.0, _likeliest(other or {}, top))
            for token, value, other in zip(tokens, rated, others, strict=False)
        )

    def _reason(self, reason: str) -> FinishReason:
        if reason == "content_filter":
            # No length of waiting cures it: the question is what the filter objects to.
            message = f"The content filter of model '{self._model}''s upstream server ended it."
            raise Fault(InvalidRequest(message, "messages"))
        if reason not in REASONS:
            raise faults.broken(self._model, f"it ended with '{reason[:100]}'")
        return REASONS[reason]

    def _failed(self, event: bytes) -> Fault:
        """An error inside a stream whose status was 200."""
        found: dict[str, Any] = msgspec.json.decode(event)
        error: Any = found["error"]
        status: Any = None
        said: Any = error
        if isinstance(error, dict):
            status, said = (cast("dict[str, Any]", error).get(name) for name in ("code", "message"))
        if isinstance(status, int) and 400 <= status <= 599:
            return faults.of_status(self._model, status, event, None, None)
        message = f"The upstream server of model '{self._model}' failed: {str(said)[:500]}"
        return Fault(EngineUnavailable(message), again=True, theirs=True)


def estimated_tokens(size: int) -> int:
    """Of a text of so many bytes, where nobody counts them."""
    return -(-size // BYTES_PER_TOKEN)


def _piece(token: _Top) -> bytes:
    if token.bytes is None:
        return token.token.encode("utf-8", "replace")
    return bytes(each & 255 for each in token.bytes)


def _spelled(token: str) -> bytes:
    r"""The bytes of a token of completions; those that are no text are `bytes:\xe2\x82`."""
    if token.startswith("bytes:"):
        return bytes(int(each, 16) for each in ESCAPED.findall(token))
    return token.encode("utf-8", "replace")


def _likeliest(others: Mapping[str, float], top: int) -> tuple[tuple[bytes, float], ...]:
    ranked = sorted(others.items(), key=lambda each: -each[1])[:top]
    return tuple((_spelled(token), value) for token, value in ranked)
