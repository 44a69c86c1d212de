"""A sentence-transformers model with dynamic batching. The only home of sentence_transformers."""

import importlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from models.errors import InvalidRequest, LoadFailed, Unsupported
from models.types import ChatPrompt, EmbedRequest, EmbedResult, TokenizeRequest
from models.worker import messages
from models.worker.cores import CoreLock

# torch's own annotations are partly unknown; to the type checker it is Any.
torch: Any = importlib.import_module("torch")

__all__ = ["EmbeddingLoop"]

BATCH_TOKENS = 4096  # padded tokens of one forward pass
MAX_WINDOWS = 256  # of one input; beyond that the input is refused


@dataclass
class _Window:
    job: "_Job"
    row: int
    tokens: list[int]


@dataclass
class _Job:
    id: int
    sums: NDArray[np.float32]
    counts: list[int]
    left: int
    cancelled: bool = field(default=False)


class EmbeddingLoop:
    """Windows of all waiting requests are batched together by length, then put back in order."""

    def __init__(
        self, spec: messages.WorkerSpec, send: Callable[[messages.FromWorker], None]
    ) -> None:
        torch.set_num_threads(spec.threads)
        self._send = send
        self._cores = CoreLock(spec.core_lock)
        try:
            self._model: Any = SentenceTransformer(
                spec.path, device=_device(), local_files_only=True
            )
        except Exception as error:
            raise LoadFailed(f"{spec.path}: {error}") from error
        self._model.eval()
        self._tokenizer: Any = self._model.tokenizer
        self._dimension = int(self._model.get_embedding_dimension())
        self._context = int(self._model.max_seq_length or 512)
        prompts: dict[str, str] = dict(self._model.prompts or {})
        self._prompts = {
            "query": prompts.get("query", ""),
            "document": prompts.get("document", prompts.get("passage", "")),
        }
        self._before, self._after = _special_tokens(self._tokenizer)
        self._pad = int(self._tokenizer.pad_token_id or 0)
        self._waiting: deque[_Window] = deque()
        self._jobs: dict[int, _Job] = {}

    @property
    def dimension(self) -> int:
        """Of its vectors."""
        return self._dimension

    @property
    def context(self) -> int:
        """Tokens of one window, special ones included."""
        return self._context

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting)

    @property
    def load(self) -> tuple[int, int]:
        """Requests running and waiting."""
        return len(self._jobs), 0

    def probe(self) -> None:
        """One forward pass of two inputs."""
        self._forward([[*self._before, *self._after]] * 2)

    def embed(self, message: messages.Embed) -> None:
        """Queue the windows of each input; raises InvalidRequest."""
        self._submit(message.id, message.request)

    def generate(self, message: messages.Generate) -> None:
        """Refused: an embedder."""
        raise Unsupported("This is an embedding model; it does not chat.", "model")

    def cancel(self, request_id: int) -> None:
        """Drop a request's windows that are not yet computed."""
        job = self._jobs.pop(request_id, None)
        if job is not None:
            self._waiting = deque(w for w in self._waiting if w.job is not job)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a text, however long."""
        if isinstance(request.prompt, ChatPrompt):
            raise InvalidRequest("An embedding model tokenises text only.", "messages")
        ids = self._ids(request.prompt.text, split_special=not request.parse_special)
        return [*self._before, *ids, *self._after] if request.add_special else ids

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str:
        """Text of ids; `special` spells control tokens out."""
        self._check_ids(tokens, "tokens")
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=not special))

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]:
        """Each token as the vocabulary has it."""
        self._check_ids(tokens, "tokens")
        return tuple(
            str(piece).encode() for piece in self._tokenizer.convert_ids_to_tokens(list(tokens))
        )

    def step(self) -> None:
        """One forward pass over windows of like length; finished requests are sent."""
        batch = self._next_batch()
        vectors = self._forward([window.tokens for window in batch])
        for window, vector in zip(batch, vectors, strict=True):
            job = window.job
            job.sums[window.row] += vector * len(window.tokens)
            job.left -= 1
            if job.left == 0:
                del self._jobs[job.id]
                self._send(messages.Embedded(job.id, self._result(job)))

    def _submit(self, request_id: int, request: EmbedRequest) -> None:
        prefix = self._prompts[request.kind]
        room = self._context - len(self._before) - len(self._after)
        windows: list[tuple[int, list[int]]] = []
        counts: list[int] = []
        for row, item in enumerate(request.inputs):
            if isinstance(item, str):
                ids = self._ids(prefix + item)
            else:
                self._check_ids(item, "input")
                ids = list(item)
            if len(ids) > room * MAX_WINDOWS:
                raise InvalidRequest(
                    f"Input {row} has {len(ids)} tokens; the most is {room * MAX_WINDOWS}.",
                    "input",
                )
            counts.append(len(ids) + len(self._before) + len(self._after))
            windows.extend(
                (row, [*self._before, *ids[at : at + room], *self._after])
                for at in range(0, max(len(ids), 1), room)
            )
        sums = np.zeros((len(counts), self._dimension), dtype=np.float32)
        job = _Job(request_id, sums, counts, len(windows))
        if not windows:  # no inputs: no step would ever finish it
            self._send(messages.Embedded(request_id, self._result(job)))
            return
        self._jobs[request_id] = job
        self._waiting.extend(_Window(job, row, tokens) for row, tokens in windows)

    def _next_batch(self) -> list[_Window]:
        """The oldest window and others nearest to it in length, within the padded size."""
        oldest = self._waiting[0]
        by_distance = sorted(self._waiting, key=lambda w: abs(len(w.tokens) - len(oldest.tokens)))
        batch: list[_Window] = []
        longest = 0
        for window in by_distance:
            longest = max(longest, len(window.tokens))
            if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                break
            batch.append(window)
        chosen = set(map(id, batch))
        self._waiting = deque(w for w in self._waiting if id(w) not in chosen)
        return batch

    def _forward(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        device = self._model.device
        with self._cores, torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(ids).to(device),
                "attention_mask": torch.from_numpy(mask).to(device),
            }
            found: NDArray[np.float32] = (
                self._model(features)["sentence_embedding"].float().cpu().numpy()
            )
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _result(self, job: _Job) -> EmbedResult:
        norms = np.maximum(np.linalg.norm(job.sums, axis=1, keepdims=True), 1e-12)
        vectors = (job.sums / norms).astype("<f4", copy=False)
        return EmbedResult(vectors.tobytes(), self._dimension, tuple(job.counts))

    def _ids(self, text: str, *, split_special: bool = False) -> list[int]:
        clean = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
        found = self._tokenizer(
            clean, add_special_tokens=False, split_special_tokens=split_special, verbose=False
        )
        return list(found["input_ids"])

    def _check_ids(self, tokens: tuple[int, ...], param: str) -> None:
        size = len(self._tokenizer)
        for token in tokens:
            if not 0 <= token < size:
                raise InvalidRequest(
                    f"Token id {token} is outside this embedder's vocabulary of {size}.", param
                )


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    for at in range(len(full) - len(bare) + 1):
        if full[at : at + len(bare)] == bare:
            return full[:at], full[at + len(bare) :]
    return [], []
