"""What llama.cpp says when something goes wrong: it has a log, and no errors with a text."""

import sys

__all__ = ["ErrorLines"]

ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
CONTINUED_LEVEL = 5


class ErrorLines:
    """Takes llama.cpp's log: error lines go to stderr, all others nowhere."""

    def __init__(self) -> None:
        self._first = ""

    @property
    def reason(self) -> str:
        """The first error line, which is the cause; the later ones repeat that loading failed."""
        found = self._first.strip().rsplit("error loading model: ", 1)[-1]
        return found or "llama.cpp gave no reason"

    def take(self, level: int, text: bytes, _: object) -> None:
        """One line or a part of one, as a ggml_log_callback gets it."""
        if level == ERROR_LEVEL or (level == CONTINUED_LEVEL and self._first):
            line = text.decode("utf-8", "replace")
            sys.stderr.write(line)
            self._first = self._first or line
