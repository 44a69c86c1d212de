"""Faults: errors that nobody raised on purpose end the request they befell, and no other."""

import sys
import traceback

from models.errors import ModelError

__all__ = ["as_model_error"]


def as_model_error(error: BaseException) -> ModelError:
    """The error of one request, as its client may see it.

    What is not raised on purpose goes to the log with its traceback, since nobody else sees it. A
    panic in Rust is none of Exception's, so that callers catch BaseException; what asks the whole
    process to end is raised again.
    """
    if isinstance(error, ModelError):
        return error
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error
    traceback.print_exception(error, file=sys.stderr)
    kind = type(error).__name__
    return ModelError(f"This request failed inside the model's worker ({kind}); its log says how.")
