"""The embedding loop: texts of all requests to windows, windows to batches, vectors back in order.

What runs the model is a `TextEncoder`: sentence-transformers or llama.cpp.
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest, LoadFailed, ModelError, Unsupported
from models.types import ChatPrompt, EmbedRequest, EmbedResult, TokenizeRequest
from models.worker import messages
from models.worker.backlog import CHARACTERS_OF_A_TOKEN, Backlog
from models.worker.cores import CoreLock
from models.worker.long_texts import LongTexts
from models.worker.windows import Window, WindowQueue

__all__ = ["EmbeddingLoop", "TextEncoder"]

MAX_WINDOWS = 256  # of one input; beyond that the input is refused
MAX_CHARACTERS = 4_000_000  # of one input: its ids take some 40 bytes each, and seconds to find
TOKENIZED_AT_ONCE = 20_000  # characters between two forward passes: some 20 ms
CHARACTERS_OF_A_CALL = 40  # what a text costs beside its length, however short
IDLE_S = 0.02  # between looks at the socket while only a long text is being tokenised


class TextEncoder(Protocol):
    """A model that turns rows of tokens into vectors. Its methods may take all cores."""

    @property
    def dimension(self) -> int:
        """Of its vectors."""
        ...

    @property
    def context(self) -> int:
        """Tokens of one row at most, special ones included."""
        ...

    @property
    def vocabulary(self) -> int:
        """Ids are below this."""
        ...

    @property
    def special(self) -> tuple[list[int], list[int]]:
        """Ids before and after every text."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of one pass that serve it best; a single row may be longer."""
        ...

    @property
    def longest_token(self) -> int:
        """Characters of the longest token of the vocabulary, at least."""
        ...

    @property
    def batch_rows(self) -> int:
        """Rows of one pass at most."""
        ...

    def prompt(self, kind: str) -> str:
        """What the model wants in front of a "query" or a "document"."""
        ...

    def tokenize(self, texts: Sequence[str], *, parse_special: bool = ...) -> list[list[int]]:
        """Ids of each text, without special ones around it, however long.

        A thread may ask this while another one does, or runs a forward pass.
        `parse_special` says whether a text may spell special tokens; if unsaid, as the model's
        own library has it.
        """
        ...

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> str:
        """Text of ids, special ones left out unless `special` asks for them."""
        ...

    def spell(self, token: int) -> bytes:
        """A token as the vocabulary has it."""
        ...

    def forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector for each row, shape (rows, dimension), of any length. Raises ModelError."""
        ...


@dataclass(eq=False)
class _Request:
    """Inputs on their way: `at` of them are windows now, and `left` windows are not yet vectors."""

    id: int
    owner: str
    size: int  # characters, or what the ids of as many would be
    prompt: str
    inputs: tuple[str | tuple[int, ...], ...]
    sums: NDArray[np.float32]
    counts: list[int]
    at: int = 0
    left: int = 0


class EmbeddingLoop:
    """Windows of all waiting requests share batches; each request's vectors come back in order.

    `prompts` stand before texts of a kind instead of the model's own. Vectors are cut to their
    first `dimensions`. Raises LoadFailed for more than they have.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        cores: CoreLock,
        send: Callable[[messages.FromWorker], None],
        *,
        prompts: Mapping[str, str | None] | None = None,
        dimensions: int | None = None,
    ) -> None:
        if dimensions is not None and dimensions > encoder.dimension:
            raise LoadFailed(
                f"dimensions is {dimensions}, and the model's vectors have {encoder.dimension}."
            )
        self._encoder = encoder
        self._prompts = prompts or {}
        self._dimensions = dimensions or encoder.dimension
        self._cores = cores
        self._send = send
        self._before, self._after = encoder.special
        self._queue = WindowQueue(encoder.batch_tokens, encoder.batch_rows)
        self._requests: dict[int, _Request] = {}
        # Requests with inputs that are not yet windows stand in one of these: in `_long` while the
        # next of them is a long text.
        self._texts: deque[_Request] = deque()
        self._long = LongTexts(lambda text: encoder.tokenize([text])[0])
        self._backlog = Backlog("embedded")

    @property
    def dimension(self) -> int:
        """Of its vectors."""
        return self._dimensions

    @property
    def context(self) -> int:
        """Tokens of one window, special ones included."""
        return self._encoder.context

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._texts or self._queue or self._long)

    def probe(self) -> None:
        """Two short rows, one as long as a batch, several at once: what serving will compute."""
        width = min(self.context, self._encoder.batch_tokens)
        rows = min(4, self._encoder.batch_rows)
        with self._cores:
            for batch in ([[0, 0]], [[0] * width], [[0, 0]] * rows):
                self._encoder.forward(batch)

    def embed(self, message: messages.Embed) -> None:
        """Queue a request; raises InvalidRequest."""
        request = self._accept(message.id, message.request)
        if not request.inputs:  # no step would ever finish it
            self._send(messages.Embedded(request.id, self._result(request)))
            return
        self._requests[request.id] = request
        self._backlog.add(request.owner, request.size)
        self._texts.append(request)

    def generate(self, message: messages.Generate) -> None:
        """Refused: an embedder."""
        raise Unsupported("This is an embedding model; it does not chat.", "model")

    def rerank(self, message: messages.Rerank) -> None:
        """Refused: an embedder."""
        raise Unsupported("This is an embedding model; it does not rerank.", "model")

    def cancel(self, request_id: int) -> None:
        """Drop what is not yet computed of a request."""
        request = self._requests.get(request_id)
        if request is not None:
            self._forget(request)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a text, as long as an input may be."""
        if isinstance(request.prompt, ChatPrompt):
            raise InvalidRequest("An embedding model tokenises text only.", "messages")
        text, parse = request.prompt.text, request.parse_special
        self._check_length("The text", text, None)
        ids = self._encoder.tokenize([text], parse_special=parse)[0]
        return [*self._before, *ids, *self._after] if request.add_special else ids

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str:
        """Text of ids; `special` spells control tokens out."""
        self._check_ids(tokens, "tokens")
        return self._encoder.detokenize(tokens, special=special)

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]:
        """Each token as the vocabulary has it."""
        self._check_ids(tokens, "tokens")
        return tuple(map(self._encoder.spell, tokens))

    def step(self) -> None:
        """Some more texts to windows, and one forward pass; finished requests are sent."""
        self._take_long()
        if not self._texts and not self._queue:
            self._long.wait(IDLE_S)
            return
        with self._cores:
            self._tokenize_some()
            if not self._queue:
                return
            batch = self._queue.take()
            begun = time.perf_counter()
            try:
                vectors = _unit(self._encoder.forward([window.tokens for window in batch]))
            except ModelError as error:
                for request_id in {window.request for window in batch}:
                    self._fail(self._requests[request_id], error)
                return
            elapsed_s = time.perf_counter() - begun
        tokens = sum(len(window.tokens) for window in batch)
        self._backlog.observe(tokens, elapsed_s)
        self._collect(batch, vectors)

    def _accept(self, request_id: int, request: EmbedRequest) -> _Request:
        size = 0
        for row, item in enumerate(request.inputs):
            if isinstance(item, str):
                self._check_length(f"Input {row}", item, "input")
                size += len(item)
            else:
                self._check_count(row, len(item))
                self._check_ids(item, "input")
                size += CHARACTERS_OF_A_TOKEN * len(item)
        self._backlog.check(request.owner, size)
        rows = len(request.inputs)
        sums = np.zeros((rows, self._encoder.dimension), dtype=np.float32)
        prompt = self._prompts.get(request.kind)
        if prompt is None:
            prompt = self._encoder.prompt(request.kind)
        return _Request(
            request_id, request.owner, size, prompt, request.inputs, sums, counts=[0] * rows
        )

    def _tokenize_some(self) -> None:
        """Inputs of each request in turn become windows; long texts are set aside."""
        chosen: list[tuple[_Request, int]] = []
        size = 0
        while self._texts:
            request = self._texts[0]
            item = request.inputs[request.at]
            if isinstance(item, str) and len(item) > TOKENIZED_AT_ONCE:
                self._long.add(self._texts.popleft().id, request.prompt + item)
                continue
            size += len(item) + CHARACTERS_OF_A_CALL
            if chosen and size > TOKENIZED_AT_ONCE:
                break
            chosen.append((self._texts.popleft(), request.at))
            request.at += 1
            if request.at < len(request.inputs):
                self._texts.append(request)
        texts = [
            request.prompt + item
            for request, row in chosen
            if isinstance(item := request.inputs[row], str)
        ]
        tokenized = iter(self._encoder.tokenize(texts) if texts else ())
        for request, row in chosen:
            item = request.inputs[row]
            self._cut(request, row, next(tokenized) if isinstance(item, str) else list(item))

    def _take_long(self) -> None:
        """A long text that has been tokenised becomes windows."""
        found = self._long.take()
        if found is None:
            return
        request = self._requests[found[0]]
        row = request.at
        request.at += 1
        if request.at < len(request.inputs):
            self._texts.append(request)
        self._cut(request, row, found[1])

    def _cut(self, request: _Request, row: int, ids: list[int]) -> None:
        """An input's ids as windows, each with the special tokens around it."""
        if request.id not in self._requests:  # an earlier input failed it
            return
        try:
            self._check_count(row, len(ids))
        except InvalidRequest as error:
            self._fail(request, error)
            return
        request.counts[row] = len(ids) + len(self._before) + len(self._after)
        for at in range(0, max(len(ids), 1), self._room):
            tokens = [*self._before, *ids[at : at + self._room], *self._after]
            self._queue.add(request.owner, Window(request.id, row, tokens))
            request.left += 1

    def _collect(self, batch: list[Window], vectors: NDArray[np.float32]) -> None:
        for window, vector in zip(batch, vectors, strict=True):
            request = self._requests[window.request]
            request.sums[window.row] += vector * len(window.tokens)
            request.left -= 1
            if request.left == 0 and request.at == len(request.inputs):
                self._forget(request)
                self._send(messages.Embedded(request.id, self._result(request)))

    def _fail(self, request: _Request, error: ModelError) -> None:
        self._forget(request)
        self._send(messages.failure(request.id, error))

    def _forget(self, request: _Request) -> None:
        del self._requests[request.id]
        self._queue.remove(request.id)
        self._long.remove(request.id)
        if request.at < len(request.inputs):
            self._texts = deque(each for each in self._texts if each is not request)
        self._backlog.remove(request.owner, request.size)

    def _result(self, request: _Request) -> EmbedResult:
        vectors = _unit(request.sums[:, : self._dimensions]).astype("<f4", copy=False)
        return EmbedResult(vectors.tobytes(), self.dimension, tuple(request.counts))

    @property
    def _room(self) -> int:
        """Tokens of a text in one window."""
        return self.context - len(self._before) - len(self._after)

    @functools.cached_property
    def _most_characters(self) -> int:
        """Of one input: no text of words has more in as many tokens as an input may have."""
        return min(MAX_CHARACTERS, self._room * MAX_WINDOWS * self._encoder.longest_token)

    def _check_length(self, what: str, text: str, param: str | None) -> None:
        """Refuse what is far too long by its size: to count its tokens would take long."""
        if len(text) > TOKENIZED_AT_ONCE and len(text) > self._most_characters:
            message = f"{what} has {len(text)} characters; the most is {self._most_characters}."
            raise InvalidRequest(message, param)

    def _check_count(self, row: int, tokens: int) -> None:
        most = self._room * MAX_WINDOWS
        if tokens > most:
            raise InvalidRequest(f"Input {row} has {tokens} tokens; the most is {most}.", "input")

    def _check_ids(self, tokens: tuple[int, ...], param: str) -> None:
        size = self._encoder.vocabulary
        for token in tokens:
            if not 0 <= token < size:
                raise InvalidRequest(
                    f"Token id {token} is outside this embedder's vocabulary of {size}.", param
                )


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
