"""A route as the OpenAPI document shows it."""

from typing import NamedTuple

from msgspec import Struct

__all__ = ["Operation"]


class Operation(NamedTuple):
    """A method of a path."""

    method: str
    path: str
    name: str
    summary: str
    tag: str
    answer: type[Struct] | None  # None: bytes
    body: type[Struct] | None = None
    chunk: type[Struct] | None = None  # what each event of a stream holds
    errors: tuple[int, ...] = ()
    public: bool = False
    form: bool = False  # the body is multipart
    query: tuple[str, ...] = ()
    other_answer: type[Struct] | None = None  # what another form of the question is answered with
