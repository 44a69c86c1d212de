"""What one answer has to send: bytes in; text, thoughts, calls and log probabilities out."""

from collections import deque

from models.parts import Content, PartParser, Thought, join_calls
from models.types import CallDelta, GenerateDelta, GenerateEnd, TokenLogprob
from models.worker.text import TextStream

__all__ = ["Output"]

Placed = tuple[int, TokenLogprob]  # at the character where the token's text begins


class Output:
    """Collects an answer until it is taken. Stop strings are looked for in its text alone.

    `parser` tells thoughts and calls from text; without one, all is text.
    """

    def __init__(self, stops: tuple[str, ...] = (), parser: PartParser | None = None) -> None:
        self._stream = TextStream(stops)
        self._parser = parser
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[CallDelta] = []
        self._written = 0  # characters, whatever they are
        self._unclassified: deque[Placed] = deque()  # by what was written
        self._logprobs: deque[Placed] = deque()  # by what is text
        self._ended = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stream.stopped

    @property
    def thinking(self) -> bool:
        """Whether the next token belongs to the thoughts."""
        return self._parser is not None and self._parser.thinking

    @property
    def calls_made(self) -> bool:
        """Whether there is a call of a tool in it."""
        return self._parser is not None and self._parser.calls > 0

    def push(self, piece: bytes, logprob: TokenLogprob | None = None) -> None:
        """A token's bytes."""
        if logprob is not None:
            self._unclassified.append((self._written, logprob))
        self._take(self._stream.decode(piece))

    def finish(self) -> None:
        """No token follows."""
        self._take(self._stream.decode(b"", final=True), last=True)
        self._text.append(self._stream.flush())
        self._ended = True

    def delta(self, end: GenerateEnd | None) -> GenerateDelta | None:
        """What came since the last time; None if there is nothing to say."""
        text, thoughts = "".join(self._text), "".join(self._thoughts)
        calls = join_calls(self._calls)
        self._text, self._thoughts, self._calls = [], [], []
        if end is None and not (text or thoughts or calls):
            return None
        return GenerateDelta(text, end, self._released(), thoughts, calls)

    def _take(self, text: str, *, last: bool = False) -> None:
        self._written += len(text)
        if self._parser is None:
            self._say(text, self._written - len(text))
            return
        parts = self._parser.push(text)
        if last:
            parts += self._parser.finish()
        for part in parts:
            match part:
                case Content():
                    self._say(part.text, part.at)
                case Thought():
                    self._thoughts.append(part.text)
                case CallDelta():
                    self._calls.append(part)

    def _say(self, text: str, at: int) -> None:
        """Text that began at `at` of all that was written."""
        while self._unclassified and self._unclassified[0][0] < at + max(len(text), 1):
            place, logprob = self._unclassified.popleft()
            if place >= at:  # else it belongs to a thought or a call
                self._logprobs.append((self._stream.received + place - at, logprob))
        self._text.append(self._stream.take(text))

    def _released(self) -> tuple[TokenLogprob, ...]:
        """Of the tokens whose text began to be sent; a stop string's own are never."""
        ready: list[TokenLogprob] = []
        everything = self._ended and not self._stream.stopped
        while self._logprobs and (everything or self._logprobs[0][0] < self._stream.released):
            ready.append(self._logprobs.popleft()[1])
        return tuple(ready)
