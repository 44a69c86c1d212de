"""What another server answers in one piece: vectors, relevance, token ids."""

import base64
import json
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.errors import InvalidRequest, Unsupported
from models.types import (
    ChatPrompt,
    EmbedRequest,
    EmbedResult,
    RerankRequest,
    RerankResult,
    TextPrompt,
    TokenizeRequest,
)
from models.upstream import faults
from models.upstream.bodies import chat_messages, tools_of
from models.upstream.chunks import estimated_tokens
from models.upstream.connection import Connection
from models.upstream.dialects import DIALECTS
from models.upstream_settings import UpstreamSettings

__all__ = ["Texts"]

T = TypeVar("T")


class _Usage(Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None
    cost: float | None = None  # of servers that know it: OpenRouter, another Jurat


class _Vector(Struct):
    index: int
    embedding: list[float] | str  # numbers, or base64 of little-endian float32


class _Vectors(Struct):
    data: list[_Vector]
    usage: _Usage | None = None


class _Score(Struct):
    index: int
    relevance_score: float


class _Scores(Struct):
    results: list[_Score]
    usage: _Usage | None = None


class _Tokens(Struct):
    tokens: list[int]


class _Prompt(Struct):
    prompt: str


class _Text(Struct):
    content: str | None = None
    prompt: str | None = None


class Texts:
    """Raises Fault for what the server does wrong, Unsupported for what it cannot."""

    def __init__(
        self, model: str, name: str, connection: Connection, settings: UpstreamSettings
    ) -> None:
        self._model = model
        self._name = name
        self._connection = connection
        self._dialect = DIALECTS[settings.server]
        self._price = settings.input_cost if settings.input_cost or settings.output_cost else None
        self.dimension = settings.dimension  # of its vectors, once it is known

    def unsupported(self, param: str, what: str) -> Unsupported:
        """This server does not give that."""
        return Unsupported(f"The server of model '{self._model}' does not tell {what}.", param)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Unit vectors. Of `token_counts` only the sum is the server's; it is shared out evenly."""
        inputs = [
            each if isinstance(each, str) else _checked(each, "input") for each in request.inputs
        ]
        body = {"model": self._name, "input": inputs, "encoding_format": "base64"}
        found = self._decode(await self._connection.call("embeddings", body), _Vectors)
        rows: list[NDArray[np.float32] | None] = [None] * len(inputs)
        for item in found.data:
            if 0 <= item.index < len(rows):
                rows[item.index] = self._vector(item.embedding)
        vectors = [row for row in rows if row is not None]
        sizes = {len(row) for row in vectors}
        if len(vectors) < len(rows) or len(sizes) != 1 or sizes == {0}:
            raise faults.broken(self._model, f"{len(rows)} texts do not have a vector each")
        matrix = np.stack(vectors)
        if not np.isfinite(matrix).all():
            raise faults.broken(self._model, "a vector is not finite")
        dimension = self._check_dimension(matrix.shape[1])
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        counts = self._shared_out(found.usage, inputs)
        cost = self._cost(found.usage, sum(counts))
        return EmbedResult(matrix.astype("<f4").tobytes(), dimension, counts, cost)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Probabilities; logits are made such."""
        texts = list(request.documents)
        body = {
            "model": self._name,
            "query": request.query,
            "documents": texts,
            "top_n": len(texts),
        }
        found = self._decode(await self._connection.call("rerank", body), _Scores)
        scores: list[float] = [math.nan] * len(texts)
        for item in found.results:
            if 0 <= item.index < len(texts):
                scores[item.index] = item.relevance_score
        if not all(map(math.isfinite, scores)):
            raise faults.broken(self._model, f"{len(texts)} documents do not have a score each")
        if self._dialect.logits:
            scores = [1 / (1 + math.exp(-max(-700.0, score))) for score in scores]
        counts = self._shared_out(found.usage, texts)
        return RerankResult(tuple(scores), sum(counts), self._cost(found.usage, sum(counts)))

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a text, or of messages through its chat template."""
        prompt = request.prompt
        body: dict[str, Any]
        match self._dialect.tokenizer, isinstance(prompt, ChatPrompt):
            case None, _:
                raise self.unsupported("model", "its tokens")
            case "vllm", True:
                assert isinstance(prompt, ChatPrompt)
                body = self._chat(prompt)
            case "vllm", False:
                assert not isinstance(prompt, ChatPrompt)
                body = {"prompt": prompt.text, "add_special_tokens": request.add_special}
                if request.parse_special:
                    body["parse_special"] = True
            case _, True:
                assert isinstance(prompt, ChatPrompt)
                body = self._chat(prompt)
                rendered = await self._connection.call("apply-template", body, root=True)
                text = self._decode(rendered, _Prompt).prompt
                body = {"content": text, "add_special": True, "parse_special": True}
            case _, _:
                assert not isinstance(prompt, ChatPrompt)
                body = {
                    "content": prompt.text,
                    "add_special": request.add_special,
                    "parse_special": request.parse_special,
                }
        body["model"] = self._name
        return self._decode(
            await self._connection.call("tokenize", body, root=True), _Tokens
        ).tokens

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As many ids as `tokenize` gives for each text: one call each, one after the other."""
        return [len(await self.tokenize(TokenizeRequest(TextPrompt(text)))) for text in texts]

    def estimates(self, texts: Sequence[str]) -> list[int]:
        """Rather too many than too few."""
        return [2 + estimated_tokens(len(text.encode("utf-8", "replace"))) for text in texts]

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of ids."""
        if self._dialect.tokenizer is None:
            raise self.unsupported("model", "its tokens")
        body = {"model": self._name, "tokens": _checked(tokens, "tokens")}
        found = self._decode(await self._connection.call("detokenize", body, root=True), _Text)
        text = found.content if found.prompt is None else found.prompt
        if text is None:
            raise faults.broken(self._model, "there is no text in it")
        return text

    def _chat(self, prompt: ChatPrompt) -> dict[str, Any]:
        body: dict[str, Any] = {"messages": chat_messages(prompt, self._dialect)}
        if prompt.tools:
            body["tools"] = tools_of(prompt)
        if prompt.variables:
            variables = {name: json.loads(value) for name, value in prompt.variables}
            body["chat_template_kwargs"] = variables
        if prompt.effort is not None:
            body["reasoning_effort"] = prompt.effort
        return body

    def _decode(self, answer: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise faults.broken(self._model, f"it is not what it should be: {error}") from error

    def _vector(self, embedding: list[float] | str) -> NDArray[np.float32]:
        if not isinstance(embedding, str):
            return np.array(embedding, dtype=np.float32)
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except ValueError as error:
            raise faults.broken(self._model, "a vector is not base64 of float32") from error

    def _check_dimension(self, found: int) -> int:
        if self.dimension is None:
            self.dimension = found
        if self.dimension != found:
            raise faults.broken(
                self._model, f"vectors have {found} dimensions, {self.dimension} are expected"
            )
        return found

    def _shared_out(
        self, usage: _Usage | None, inputs: Sequence[str | list[int]]
    ) -> tuple[int, ...]:
        total = None
        if usage is not None:
            total = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        if total is None:
            return tuple(
                self.estimates([each])[0] if isinstance(each, str) else len(each) for each in inputs
            )
        each, rest = divmod(max(0, total), len(inputs))
        return tuple(each + (at < rest) for at in range(len(inputs)))

    def _cost(self, usage: _Usage | None, tokens: int) -> float:
        """By the settings' price for a million tokens, or else what the server says."""
        if self._price is not None:
            return tokens * self._price / 1e6
        return (usage.cost if usage is not None else None) or 0.0


def _checked(tokens: Sequence[int], param: str) -> list[int]:
    for token in tokens:
        if token < 0:
            raise InvalidRequest(f"Token id {token} is outside the vocabulary.", param)
    return list(tokens)
