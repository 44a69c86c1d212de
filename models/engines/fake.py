"""A deterministic engine that loads nothing: for tests and for trying the API without a model."""

import asyncio
import hashlib
import json
import re
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

import msgspec

from models.errors import ContextOverflow, EngineUnavailable, InvalidRequest, Unsupported
from models.types import (
    CallDelta,
    ChatPrompt,
    EmbedRequest,
    EmbedResult,
    EngineStats,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Prompt,
    RerankRequest,
    RerankResult,
    TextPrompt,
    TokenizeRequest,
    TokenLogprob,
    Tool,
    Usage,
)

__all__ = ["FakeEngine", "minimal_instance"]

DIMENSION = 32


class FakeEngine:
    """Answers `reply(request)` word by word; tokens are words, ids are positions met so far.

    Without `reply` it repeats the last message, or, under a JSON schema, gives the smallest
    instance of it. A tool is called if one must be, or if the last message names it. Embeddings are
    hashed bags of words, so that like texts are near each other.
    `gate`, if given, is awaited before every word: tests hold a stream open with it.
    `score` says how likely each word of a given answer is, in nats; without it none is scored.
    """

    def __init__(
        self,
        *,
        reply: Callable[[GenerateRequest], str] | None = None,
        context: int = 4096,
        gate: Callable[[], "asyncio.Future[None]"] | None = None,
        score: Callable[[GenerateRequest], float] | None = None,
    ) -> None:
        self.score = score
        self._reply = reply or _default_reply
        self._context = context
        self._gate = gate
        self._vocabulary: list[str] = []
        self._ids: dict[str, int] = {}
        self._ready = False
        self._running = 0

    async def start(self) -> None:
        self._ready = True

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        self._check_ready()
        prompt_tokens = self._count(request.prompt)
        if prompt_tokens >= self._context:
            raise ContextOverflow(
                f"The prompt has {prompt_tokens} tokens; the context holds {self._context}.",
                prompt_tokens,
                self._context,
                "messages" if isinstance(request.prompt, ChatPrompt) else "prompt",
            )
        if request.continuation:
            yield self._scored(request, prompt_tokens)
            return
        called = _called(request)
        if called is not None:
            async for delta in self._call(called, prompt_tokens, whole=request.whole):
                yield delta
            return
        words = _words(self._reply(request))
        limit = min(
            len(words) if request.max_tokens is None else request.max_tokens,
            self._context - prompt_tokens,
        )
        full = "".join(words[:limit])
        cut, stopped = _first_stop(full, request.stop)
        self._running += 1
        try:
            made = 0
            kept: list[TokenLogprob] = []
            for word in _words(cut):
                if self._gate is not None:
                    await self._gate()
                else:
                    await asyncio.sleep(0)
                self._check_ready()
                made += 1
                logprobs = _logprobs(word, request.sampling.logprobs)
                if request.whole:
                    kept += logprobs
                else:
                    yield GenerateDelta(word, logprobs=logprobs)
            reason = "stop" if stopped or limit >= len(words) else "length"
            usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=made)
            text = cut if request.whole else ""
            yield GenerateDelta(text, GenerateEnd(reason, usage), tuple(kept))
        finally:
            self._running -= 1

    def _scored(self, request: GenerateRequest, prompt_tokens: int) -> GenerateDelta:
        if self.score is None:
            raise Unsupported("The fake engine scores nothing.", "continuation")
        given = request.continuation
        words = _words(given) if isinstance(given, str) else [self._vocabulary[n] for n in given]
        logprob = self.score(request)
        logprobs = tuple(TokenLogprob(word.encode(), logprob) for word in words)
        end = GenerateEnd("stop", Usage(prompt_tokens + len(words)))
        return GenerateDelta("".join(words), end, logprobs)

    async def _call(
        self, tool: Tool, prompt_tokens: int, *, whole: bool
    ) -> AsyncGenerator[GenerateDelta, None]:
        schema: object = json.loads(tool.parameters)
        words = _words(json.dumps(minimal_instance(schema)))
        end = GenerateEnd("tool_calls", Usage(prompt_tokens, len(words)))
        begun = CallDelta(0, "call_fake", tool.name)
        if whole:
            call = msgspec.structs.replace(begun, arguments="".join(words))
            yield GenerateDelta("", end, calls=(call,))
            return
        for call in (begun, *(CallDelta(0, arguments=word) for word in words)):
            await asyncio.sleep(0)
            yield GenerateDelta("", calls=(call,))
        yield GenerateDelta("", end)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self._check_ready()
        rows = bytearray()
        counts: list[int] = []
        for item in request.inputs:
            text = item if isinstance(item, str) else await self.detokenize(item)
            words = text.lower().split()
            vector = [0.0] * DIMENSION
            for word in words:
                digest = hashlib.blake2b(word.encode(), digest_size=2).digest()
                vector[int.from_bytes(digest, "little") % DIMENSION] += 1.0
            norm = sum(x * x for x in vector) ** 0.5
            if norm:
                vector = [x / norm for x in vector]
            else:
                vector[0] = 1.0
            rows += struct.pack(f"<{DIMENSION}f", *vector)
            counts.append(len(words))
        return EmbedResult(bytes(rows), DIMENSION, tuple(counts))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """The share of the query's words that a document has."""
        self._check_ready()
        wanted = set(request.query.lower().split())
        texts = [document.lower().split() for document in request.documents]
        scores = tuple(len(wanted & set(words)) / max(1, len(wanted)) for words in texts)
        return RerankResult(scores, sum(len(wanted) + len(words) for words in texts))

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        self._check_ready()
        return [self._id(word) for word in _words(_text_of(request.prompt))]

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(await self.tokenize(TokenizeRequest(TextPrompt(text)))) for text in texts]

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return b"".join(await self.spell(tokens)).decode()

    async def spell(self, tokens: Sequence[int]) -> list[bytes]:
        self._check_ready()
        for token in tokens:
            if not 0 <= token < len(self._vocabulary):
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "tokens")
        return [self._vocabulary[token].encode() for token in tokens]

    def stats(self) -> EngineStats:
        return EngineStats(
            state="ready" if self._ready else "unloaded",
            running=self._running,
            context=self._context,
            dimension=DIMENSION,
        )

    async def stop(self, deadline_s: float) -> None:
        self._ready = False

    def _check_ready(self) -> None:
        if not self._ready:
            raise EngineUnavailable("The fake engine is not started.")

    def _count(self, prompt: Prompt) -> int:
        if isinstance(prompt, TextPrompt) and prompt.suffix:
            raise Unsupported("The fake engine fills nothing in between texts.", "suffix")
        if isinstance(prompt, (ChatPrompt, TextPrompt)):
            return len(_words(_text_of(prompt)))
        for token in prompt.tokens:
            if not 0 <= token < len(self._vocabulary):
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "prompt")
        return len(prompt.tokens)

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._vocabulary)
            self._vocabulary.append(word)
        return self._ids[word]


def minimal_instance(schema: object) -> object:
    """The smallest instance of the common JSON-schema keywords that this engine needs."""
    return _minimal(schema, schema)


def _minimal(schema: object, root: object) -> object:
    if not isinstance(schema, dict):
        return {}
    node = cast("dict[str, Any]", schema)
    if "$ref" in node:
        found: Any = root
        for part in str(node["$ref"]).removeprefix("#").strip("/").split("/"):
            found = found[part] if part else found
        return _minimal(found, root)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            return _minimal(node[key][0], root)
    kind: Any = node.get("type", "object")
    return _minimal_of(cast("list[str]", kind)[0] if isinstance(kind, list) else kind, node, root)


def _minimal_of(kind: object, node: dict[str, Any], root: object) -> object:
    match kind:
        case "object":
            properties = cast("dict[str, object]", node.get("properties", {}))
            required = cast("list[str]", node.get("required", []))
            return {name: _minimal(properties.get(name), root) for name in required}
        case "array":
            return [_minimal(node.get("items"), root)] * int(node.get("minItems", 0))
        case "string":
            return "x" * int(node.get("minLength", 0))
        case "integer" | "number":
            return node.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
        case other:
            raise TypeError(f"no such type: {other!r}")


def _called(request: GenerateRequest) -> Tool | None:
    """The tool that must be called, or may be and is named by the last message."""
    use = request.tool_use
    if use is None or not isinstance(request.prompt, ChatPrompt):
        return None
    last = request.prompt.messages[-1].content
    named = [tool for tool in request.prompt.tools if tool.name in use.names]
    if use.required:
        return named[0]
    return next((tool for tool in named if tool.name in last), None)


def _default_reply(request: GenerateRequest) -> str:
    if request.constraint is not None:
        if request.constraint.kind != "json_schema":
            raise Unsupported(
                "The fake engine follows JSON schemas only.", request.constraint.param or "grammar"
            )
        try:
            schema: object = json.loads(request.constraint.grammar)
            if not isinstance(schema, (dict, bool)):
                raise TypeError("a schema is an object or a boolean")
            return json.dumps(minimal_instance(cast("object", schema)))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise InvalidRequest(
                f"The grammar cannot be compiled: {error}", "response_format"
            ) from error
    prompt = request.prompt
    if isinstance(prompt, ChatPrompt):
        return prompt.messages[-1].content
    return prompt.text if isinstance(prompt, TextPrompt) else "tokens"


def _logprobs(word: str, top: int | None) -> tuple[TokenLogprob, ...]:
    """It is always certain."""
    piece = word.encode()
    return () if top is None else (TokenLogprob(piece, 0.0, ((piece, 0.0),)[:top]),)


def _text_of(prompt: ChatPrompt | TextPrompt) -> str:
    if isinstance(prompt, TextPrompt):
        return prompt.text
    return "\n".join(f"{m.role}: {m.content}" for m in prompt.messages)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _first_stop(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)[1]], True) if found else (text, False)
