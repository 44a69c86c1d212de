"""The worker process: `python -m models.worker.main ADDRESS`. One model, one loop, one socket.

It ends when told to, and when its standard input closes: that is the gateway's end of a pipe, so
no worker outlives its gateway, however that died.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zmq

from models.errors import ModelError
from models.types import TextPrompt, TokenizeRequest
from models.worker import messages
from models.worker.cores import CoreLock
from models.worker.faults import as_model_error

if TYPE_CHECKING:
    # numpy, before it is known what is needed
    from models.worker.embedding import TextEncoder
    from models.worker.reranking import PairScorer

__all__ = ["Loop", "main"]

RECEIVE_S = 0.02  # large requests that come together must not hold up running streams for longer

Work = (
    messages.Generate
    | messages.Embed
    | messages.Rerank
    | messages.Tokenize
    | messages.CountTokens
    | messages.Detokenize
    | messages.Spell
)


class Loop(Protocol):
    """A loaded model; its methods raise errors of models.errors, answers go out as messages."""

    @property
    def busy(self) -> bool: ...

    @property
    def context(self) -> int: ...

    @property
    def dimension(self) -> int | None: ...

    def probe(self) -> messages.Trial | None: ...

    def generate(self, message: messages.Generate) -> None: ...

    def embed(self, message: messages.Embed) -> None: ...

    def rerank(self, message: messages.Rerank) -> None: ...

    def tokenize(self, request: TokenizeRequest) -> list[int]: ...

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str: ...

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]: ...

    def cancel(self, request_id: int) -> None: ...

    def step(self) -> None: ...


class Worker:
    """Reads the socket between steps; sleeps on it when there is nothing to do."""

    def __init__(self, address: str) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Socket(zmq.Context(), zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.set_hwm(0)
        self._socket.connect(address)
        self._ended = False

    def run(self) -> int:
        """Load, then serve until the end. Returns the exit status."""
        first = messages.decode_to_worker(self._socket.recv())
        if not isinstance(first, messages.Load):
            raise TypeError(f"The first message was {type(first).__name__}, not Load.")
        try:
            loop = self._load(first.spec)
            trial = loop.probe()
        except ModelError as error:
            self._send(messages.LoadFailure(str(error)))
            self._socket.close()
            return 1
        self._send(messages.Ready(loop.context, loop.dimension, trial))
        while not self._ended:
            self._receive(loop)
            if loop.busy and not self._ended:
                loop.step()
        self._socket.close()
        return 0

    def _load(self, spec: messages.WorkerSpec) -> Loop:
        if spec.kind == "embedding":
            from models.worker.embedding import EmbeddingLoop

            loop: Loop = EmbeddingLoop(
                _encoder(spec),
                CoreLock(spec.core_lock),
                self._send,
                prompts={"query": spec.query_prompt, "document": spec.document_prompt},
                dimensions=spec.dimensions,
            )
        elif spec.kind == "rerank":
            from models.worker.reranking import RerankingLoop

            loop = RerankingLoop(_scorer(spec), CoreLock(spec.core_lock), self._send)
        else:
            from models.worker.llama_loading import Weights

            weights = Weights(
                Path(spec.path), spec.gpu_layers, spec.tensor_split, safe_mode=spec.safe_mode
            )
            from models.worker.generation import GenerationLoop  # while they are being read

            loop = GenerationLoop(spec, self._send, weights)
        return loop

    def _receive(self, loop: Loop) -> None:
        """Take what has come, within RECEIVE_S if there is work; wait only when there is none."""
        until = time.monotonic() + RECEIVE_S
        if not loop.busy:
            self._handle(loop, messages.decode_to_worker(self._socket.recv()))
            until = time.monotonic() + RECEIVE_S
        while not self._ended and not (loop.busy and time.monotonic() >= until):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._handle(loop, messages.decode_to_worker(frame))

    def _handle(self, loop: Loop, message: messages.ToWorker) -> None:
        match message:
            case messages.Shutdown():
                self._ended = True
            case messages.Cancel(id=request):
                loop.cancel(request)
            case messages.Load():
                raise TypeError("A worker loads one model.")
            case _:
                try:
                    self._work(loop, message)
                except BaseException as error:
                    self._send(messages.failure(message.id, as_model_error(error)))

    def _work(self, loop: Loop, message: Work) -> None:
        match message:
            case messages.Generate():
                loop.generate(message)
            case messages.Embed():
                loop.embed(message)
            case messages.Rerank():
                loop.rerank(message)
            case messages.Tokenize(id=request, request=asked):
                self._send(messages.Tokens(request, tuple(loop.tokenize(asked))))
            case messages.CountTokens(id=request, texts=texts):
                asked = (TokenizeRequest(TextPrompt(text)) for text in texts)
                counts = tuple(len(loop.tokenize(each)) for each in asked)
                self._send(messages.Counts(request, counts))
            case messages.Detokenize(id=request, tokens=tokens, special=special):
                self._send(messages.Text(request, loop.detokenize(tokens, special)))
            case messages.Spell(id=request, tokens=tokens):
                self._send(messages.Pieces(request, loop.spell(tokens)))

    def _send(self, message: messages.FromWorker) -> None:
        self._socket.send(messages.encode(message))


def _encoder(spec: messages.WorkerSpec) -> "TextEncoder":
    if spec.runs_llama:
        from models.worker.llama_embedder import LlamaEncoder

        return LlamaEncoder(spec)
    from models.worker.embedder import SentenceEncoder  # torch takes seconds to import

    return SentenceEncoder(
        Path(spec.path),
        spec.threads,
        pooling=spec.pooling,
        trust_remote_code=spec.trust_remote_code,
    )


def _scorer(spec: messages.WorkerSpec) -> "PairScorer":
    if spec.runs_llama:
        from models.worker.llama_reranker import LlamaScorer

        return LlamaScorer(spec)
    from models.worker.embedder import CrossEncoderScorer

    return CrossEncoderScorer(Path(spec.path), spec.threads)


def main() -> int:
    """Entry of the process."""
    # The terminal's Ctrl-C goes to the gateway, which ends its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_gateway, daemon=True).start()
    return Worker(sys.argv[1]).run()


def _end_with_gateway() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
