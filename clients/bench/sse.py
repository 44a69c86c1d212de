"""Server-sent events, read byte by byte as they arrive."""

__all__ = ["DONE", "EventReader"]

DONE = b"[DONE]"


class EventReader:
    """Finds the data of each event in a stream cut anywhere.

    Lines end with LF or CRLF; a lone CR, which the standard also allows, no server sends.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that these bytes complete; other fields are dropped."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        events: list[bytes] = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                self._lines.append(text[5:].removeprefix(b" "))
            elif not text and self._lines:
                events.append(b"\n".join(self._lines))
                self._lines.clear()
        return events
