"""Text completions between the wire and the engines."""

from collections.abc import Sequence

from gateway.choices import Answer
from gateway.convert.constraints import constraint_of
from gateway.convert.inputs import inputs_of
from gateway.convert.sampling import (
    copies,
    refuse_contradictions,
    sampling_of,
    stops_of,
)
from gateway.echo import Echo
from gateway.errors import BadRequest
from gateway.schema.completions import CompletionLogprobs, CompletionRequest
from models import types
from models.settings import ModelSettings

__all__ = [
    "LogprobsWriter",
    "best_of",
    "completion_requests",
    "likeliest",
    "refuse_unsupported",
    "whole_logprobs",
]

MAX_TOKENS = 16  # OpenAI's default
MAX_COMPLETIONS = 1024  # prompts times answers to each


def refuse_unsupported(request: CompletionRequest) -> None:
    """Raise BadRequest for what cannot be done, by the parameter's name."""
    refuse_contradictions(request)
    constraint_of(request)
    if request.max_tokens == 0 and not request.echo:
        raise BadRequest("'max_tokens' is 0, which needs 'echo': true.", "max_tokens")
    wanted, drawn = request.n or 1, best_of(request)
    if drawn < wanted:
        raise BadRequest(f"'best_of' is {drawn}; it must be at least 'n', {wanted}.", "best_of")
    if request.stream and drawn > wanted:
        message = "'best_of' cannot be streamed: which is best is known at the end."
        raise BadRequest(message, "best_of")


def completion_requests(
    request: CompletionRequest, settings: ModelSettings, owner: str
) -> Sequence[types.GenerateRequest]:
    """For each prompt in turn, as many as are to be drawn of it. Raises BadRequest."""
    drawn = best_of(request)
    prompts = inputs_of(request.prompt, "prompt", max(1, MAX_COMPLETIONS // drawn))
    rated = 0 if drawn > (request.n or 1) else None  # the best are found by their probability
    sampling = sampling_of(
        request, settings.sampling, rated if request.logprobs is None else request.logprobs
    )
    return [
        one
        for prompt in prompts
        for one in copies(
            types.GenerateRequest(
                prompt=_prompt(prompt, request.suffix or ""),
                max_tokens=MAX_TOKENS if request.max_tokens is None else request.max_tokens,
                sampling=sampling,
                stop=stops_of(request),
                constraint=constraint_of(request),
                owner=owner,
                whole=not request.stream,
                deterministic=bool(request.deterministic),
            ),
            drawn,
        )
    ]


def _prompt(given: str | tuple[int, ...], suffix: str) -> types.Prompt:
    if isinstance(given, str):
        return types.TextPrompt(given, suffix)
    if suffix:
        raise BadRequest("'suffix' needs a 'prompt' of text, not of token ids.", "suffix")
    return types.TokenPrompt(given)


def best_of(request: CompletionRequest) -> int:
    """How many answers are drawn of each prompt, `n` where nothing is said."""
    return request.best_of or request.n or 1


def likeliest(answers: Sequence[Answer], wanted: int) -> Sequence[Answer]:
    """The best by the mean log probability of their tokens, best first; all as they came."""
    return answers if len(answers) == wanted else sorted(answers, key=_doubt)[:wanted]


def _doubt(answer: Answer) -> float:
    return -sum(each.logprob for each in answer.logprobs) / max(len(answer.logprobs), 1)


class LogprobsWriter:
    """One choice's log probabilities in the old format; `text_offset` runs on from call to call."""

    def __init__(self) -> None:
        self._offset = 0
        self._open = b""  # of a character that is not complete

    def begin(self, echo: Echo) -> CompletionLogprobs:
        """Those of a prompt that was rated.

        Its text may leave out what its tokens begin with: a BOS, or a space that some add.
        """
        rest = self.write(echo.rest)
        ahead = len(echo.text) - self._offset
        self._offset = len(echo.text)
        return CompletionLogprobs(
            tokens=[_spelled(echo.first), *rest.tokens],
            token_logprobs=[None, *rest.token_logprobs],
            top_logprobs=[None, *rest.top_logprobs],
            text_offset=[0, *(max(0, offset + ahead) for offset in rest.text_offset)],
        )

    def write(self, found: Sequence[types.TokenLogprob]) -> CompletionLogprobs:
        """Those of the next tokens."""
        return CompletionLogprobs(
            tokens=[_spelled(each.piece) for each in found],
            token_logprobs=[each.logprob for each in found],
            top_logprobs=[
                {_spelled(piece): value for piece, value in (*each.top, (each.piece, each.logprob))}
                for each in found
            ],
            text_offset=[self._advance(each.piece) for each in found],
        )

    def _advance(self, piece: bytes) -> int:
        """Where the piece begins; a part of a character begins where the character does."""
        start = self._offset
        whole = self._open + piece
        complete = whole.decode("utf-8", "ignore")
        self._offset += len(complete)
        self._open = whole[len(complete.encode()) :][:3]
        return start


def whole_logprobs(echo: Echo | None, answer: Answer) -> CompletionLogprobs:
    """Those of a choice: its prompt's, if it is echoed, and its answer's."""
    writer = LogprobsWriter()
    if echo is None:
        return writer.write(answer.logprobs)
    before, after = writer.begin(echo), writer.write(answer.logprobs)
    return CompletionLogprobs(
        tokens=before.tokens + after.tokens,
        token_logprobs=before.token_logprobs + after.token_logprobs,
        top_logprobs=before.top_logprobs + after.top_logprobs,
        text_offset=before.text_offset + after.text_offset,
    )


def _spelled(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
