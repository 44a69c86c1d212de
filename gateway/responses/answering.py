"""Who answers a response request, and with what: a model, with passages or without, or an
ensemble."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from gateway import cold_start
from gateway.convert.chat import chat_prompt, ensemble_request, generate_request
from gateway.convert.chat import refuse_unsupported as refuse_chat
from gateway.convert.items import last_question
from gateway.convert.responses import (
    FileSearch,
    chat_request,
    file_search_of,
    is_plain_text,
    searching_ensemble,
)
from gateway.ensemble.pipeline import Ensemble
from gateway.ensemble.prompt import Passage
from gateway.errors import BadRequest
from gateway.responses.file_search import find, results_of, with_passages
from gateway.responses.fitting import greatest, turns_of, without_first
from gateway.responses.marks import Marks
from gateway.responses.pieces import (
    FIRST_S,
    Ended,
    Piece,
    Searched,
    Searching,
    Text,
    ensemble_pieces,
    model_pieces,
)
from gateway.runtime import Runtime
from gateway.schema.chat import ChatRequest
from gateway.schema.items import MessageItem, StoredItem
from gateway.schema.responses import InputTokensRequest, ResponsesRequest
from gateway.sse import Prefetch
from models.engine import Engine
from models.errors import Unsupported
from models.settings import ModelSettings
from models.types import TokenizeRequest
from retrieval.types import Hit

__all__ = ["answer_pieces", "check_answerable", "count_tokens", "patience_s"]

PLACEHOLDER = [MessageItem(role="user", content="")]  # where only the rest of a request is checked


class Answerer(NamedTuple):
    """Who answers: an ensemble, or the model of that name, which may search first."""

    ensemble: Ensemble | None
    model: str
    search: FileSearch | None


def check_answerable(runtime: Runtime, body: InputTokensRequest) -> None:
    """Raises what would be raised of any items: of unknown models, and of parameters."""
    chat = chat_request(body, PLACEHOLDER)
    refuse_chat(chat)
    chat, who = _answerer(runtime, body, chat)
    if who.ensemble is not None:
        ensemble_request(chat, "")
    else:
        runtime.engine(who.model, "responses")
        generate_request(chat, runtime.registry.settings(who.model), "")


def patience_s(runtime: Runtime, body: ResponsesRequest) -> float:
    """How long a stream may be silent at first, so that an error still gets its own status.

    An ensemble may take long, and a client should not look at nothing meanwhile.
    """
    keep_alive_s = runtime.settings.server.keep_alive_s
    _, who = _answerer(runtime, body, chat_request(body, PLACEHOLDER))
    if who.ensemble is not None:
        return min(FIRST_S, keep_alive_s)
    engine = runtime.engine(who.model, "responses")
    return cold_start.patience_s(cold=cold_start.is_cold(engine), keep_alive_s=keep_alive_s)


async def answer_pieces(
    runtime: Runtime,
    body: ResponsesRequest,
    owner: str,
    items: Sequence[StoredItem],
    *,
    stream: bool,
) -> AsyncGenerator[Piece, None]:
    """The answer to a talk. Closing it cancels. Raises what chat completions do."""
    chat = chat_request(body, items, stream=stream)
    chat, who = _answerer(runtime, body, chat)
    if who.ensemble is not None:
        queries = [last_question(items)] if who.search is not None else None
        source = ensemble_pieces(who.ensemble, ensemble_request(chat, owner), queries)
    else:
        source = _model_pieces(runtime, body, owner, items, who, stream=stream)
    async with aclosing(source):
        async for piece in source:
            yield piece


async def count_tokens(
    runtime: Runtime, body: InputTokensRequest, items: Sequence[StoredItem]
) -> int:
    """Tokens of the prompt, without the passages of a search, which are not known before."""
    chat, who = _answerer(runtime, body, chat_request(body, items))
    if who.ensemble is not None:
        message = (
            f"'{body.model}' is an ensemble; its prompts depend on what is found. "
            "Name one of its members."
        )
        raise BadRequest(message, "model", "unsupported_value")
    engine = runtime.engine(who.model, "tokenisation")
    return len(await engine.tokenize(TokenizeRequest(chat_prompt(chat))))


def _answerer(
    runtime: Runtime, body: InputTokensRequest, chat: ChatRequest
) -> tuple[ChatRequest, Answerer]:
    """Who answers, and the request as they take it. Raises ModelNotFound and others."""
    search = file_search_of(body)
    if body.model not in runtime.ensembles and chat.ensemble is None:
        return chat, Answerer(None, body.model, search)
    if search is not None:
        chat = searching_ensemble(chat, search)
    ensemble = runtime.ensemble(chat.model, chat.ensemble)
    assert ensemble is not None
    model = ensemble.settings.model_for_tools if chat.tools else None
    if model is not None:
        return chat, Answerer(None, model, search)
    return chat, Answerer(ensemble, body.model, search)


async def _model_pieces(
    runtime: Runtime,
    body: ResponsesRequest,
    owner: str,
    items: Sequence[StoredItem],
    who: Answerer,
    *,
    stream: bool,
) -> AsyncGenerator[Piece, None]:
    engine = runtime.engine(who.model, "responses")
    settings = runtime.registry.settings(who.model)
    room = _Room(engine, settings, body)
    if body.truncation == "auto":
        items = await room.truncated(items)
    hits: list[Hit] = []
    passages: tuple[Passage, ...] = ()
    query = last_question(items)
    cite = is_plain_text(body)
    if who.search is not None:
        hits = await find(runtime, owner, who.search, query)
        items, passages = await room.with_passages(items, hits, cite=cite)
    request = generate_request(chat_request(body, items, stream=stream), settings, owner)
    source: AsyncGenerator[Piece, None] = model_pieces(engine, request, settings.parallel)
    if who.search is None:
        async with aclosing(source):
            async for piece in source:
                yield piece
        return
    answer = Prefetch(_cited(source, passages) if cite else source)
    async with aclosing(answer):
        await answer.first_within(FIRST_S)
        yield Searching([query])
        yield Searched(results_of(hits))
        async for piece in answer:
            yield piece


async def _cited(
    source: AsyncGenerator[Piece, None], passages: Sequence[Passage]
) -> AsyncGenerator[Piece, None]:
    """The pieces with the [n] in their text as citations."""
    marks = Marks(passages)
    async with aclosing(source):
        async for piece in source:
            if isinstance(piece, Text):
                for found in marks.add(piece.text, piece.logprobs):
                    yield found
                continue
            if isinstance(piece, Ended):
                for found in marks.end():
                    yield found
            yield piece


class _Room:
    """How much of a talk, and of what was found, a model's context holds beside the answer."""

    def __init__(self, engine: Engine, settings: ModelSettings, body: ResponsesRequest) -> None:
        self._engine = engine
        self._body = body
        self._answer = body.max_output_tokens or settings.max_tokens

    async def truncated(self, items: Sequence[StoredItem]) -> list[StoredItem]:
        """The items without as many of the oldest turns as have no room. Raises BadRequest."""
        turns = len(turns_of(items))

        async def fits(kept: int) -> bool:
            return await self._fits(without_first(items, turns - kept))

        try:
            return without_first(items, turns - await greatest(turns, fits))
        except Unsupported as error:
            message = f"'truncation' is not supported by this model: {error}"
            raise BadRequest(message, "truncation", "unsupported_parameter") from error

    async def with_passages(
        self, items: Sequence[StoredItem], hits: Sequence[Hit], *, cite: bool
    ) -> tuple[list[StoredItem], tuple[Passage, ...]]:
        """The items with as many of the best passages as have room."""

        async def fits(kept: int) -> bool:
            return await self._fits(with_passages(items, hits[:kept], cite=cite)[0])

        try:
            most = await greatest(len(hits), fits)
        except Unsupported:  # a server that counts no tokens; it says itself what is too long
            most = len(hits)
        return with_passages(items, hits[:most], cite=cite)

    async def _fits(self, items: Sequence[StoredItem]) -> bool:
        prompt = chat_prompt(chat_request(self._body, items))
        tokens = await self._engine.tokenize(TokenizeRequest(prompt))
        context = self._engine.stats().context  # known once the model is loaded
        if context is None:
            return True
        answer = min(self._answer or context // 4, context // 2)
        return len(tokens) + answer <= context
