"""Tokens' bytes to text that can be sent: whole characters only, and nothing past a stop string."""

import codecs

__all__ = ["TextStream"]


class TextStream:
    """Decodes bytes as they come, and watches text for stop strings across token boundaries.

    Text that may yet turn out to be the start of a stop string is held back, no more.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._held = ""
        self.stopped = False
        self.received = 0  # characters taken so far
        self.released = 0  # of these, given out

    def decode(self, piece: bytes, *, final: bool = False) -> str:
        """The whole characters that a token's bytes complete; an unfinished last one is U+FFFD."""
        return self._decoder.decode(piece, final=final)

    def flush(self) -> str:
        """The end of the stream: what was held back."""
        if self.stopped:
            return ""
        held, self._held = self._held, ""
        self.released += len(held)
        return held

    def take(self, text: str) -> str:
        """Take decoded text, return what is now certain. Sets `stopped` at a stop string."""
        if self.stopped:
            return ""
        self.received += len(text)
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            # The one complete first, so that how the text was cut into tokens makes no difference.
            self.stopped = True
            cut = min(found)[1]
        else:
            keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
            cut = len(self._held) - keep
        self.released += cut
        ready, self._held = self._held[:cut], self._held[cut:]
        return ready


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
