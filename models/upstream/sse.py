"""Server-sent events, read as they arrive."""

__all__ = ["EventReader", "TooLong"]

MAX_EVENT = 16 << 20  # bytes


class TooLong(ValueError):
    """An event that never ends."""


class EventReader:
    """Finds the data of each event in a stream cut anywhere.

    Lines end with LF or CRLF; a lone CR, which the standard also allows, no server sends.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._lines: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that these bytes complete; other fields are dropped."""
        start = len(self._rest)
        self._rest += received
        events: list[bytes] = []
        begin = 0
        while (end := self._rest.find(b"\n", max(start, begin))) >= 0:
            self._line(bytes(self._rest[begin:end]).removesuffix(b"\r"), events)
            begin = end + 1
        del self._rest[:begin]
        if len(self._rest) + self._size > MAX_EVENT:
            raise TooLong(f"an event has more than {MAX_EVENT} bytes")
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._lines.append(line[5:].removeprefix(b" "))
            self._size += len(line)
        elif not line and self._lines:
            events.append(b"\n".join(self._lines))
            self._lines.clear()
            self._size = 0
