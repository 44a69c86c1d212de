"""Multipart bodies with one file, which goes to the disk as it comes."""

import asyncio
from collections.abc import Mapping
from email.message import Message
from typing import Any, NamedTuple

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from gateway.errors import ApiError, BadRequest, ClientGone
from retrieval.blobs import Incoming

__all__ = ["Form", "read_form"]

TOO_LARGE = "file_too_large"  # the code of a 413
MOST_PARTS = 32
LONGEST_FIELD = 65_536  # bytes of a field that is no file
FRAME = 1 << 20  # what the fields and the frame of a body may add to its file


class Form(NamedTuple):
    """The fields of a form, and the name that its file came with."""

    fields: Mapping[str, str]
    filename: str


async def read_form(
    request: Request[Any, Any, Any], file_field: str, content: Incoming, max_bytes: int
) -> Form:
    """Reads a multipart body; its file, of at most `max_bytes`, is written to `content`.

    Raises BadRequest, ApiError (413), ClientGone, and OSError for the disk.
    """
    reader = _Reader(_parser(request, file_field, max_bytes), file_field, content, max_bytes)
    received = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        received += len(body)
        if received > max_bytes + FRAME:
            raise too_large(file_field, max_bytes)
        try:
            await asyncio.to_thread(reader.take, body, last)
        except MultipartError as error:
            raise BadRequest(
                f"The body is not a valid multipart form: {_reason(error)}.",
                code="invalid_multipart",
            ) from error
        if last:
            return reader.form()


class _Reader:
    """Takes the body piece by piece, in a thread."""

    def __init__(
        self, parser: PushMultipartParser, file_field: str, content: Incoming, max_bytes: int
    ) -> None:
        self._parser = parser
        self._file_field = file_field
        self._content = content
        self._max_bytes = max_bytes
        self._segment: MultipartSegment | None = None
        self._text = bytearray()
        self._fields: dict[str, str] = {}
        self._filename: str | None = None

    def take(self, body: bytes, last: bool) -> None:
        if body:
            for event in self._parser.parse(body):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                else:
                    self._add(event)
        if last:
            self._parser.close()

    def form(self) -> Form:
        if self._filename is None:
            raise BadRequest(
                f"Missing required parameter: '{self._file_field}'.",
                self._file_field,
                "missing_required_parameter",
            )
        return Form(self._fields, self._filename)

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment = segment
        if segment.name == self._file_field:
            if self._filename is not None:
                raise BadRequest("One file is taken a request.", self._file_field, "invalid_value")
            self._filename = _filename(segment)

    def _add(self, piece: bytes | bytearray) -> None:
        assert self._segment is not None
        if self._segment.name == self._file_field:
            if self._content.bytes + len(piece) > self._max_bytes:
                raise too_large(self._file_field, self._max_bytes)
            self._content.write(piece)
        else:
            self._text += piece
            if len(self._text) > LONGEST_FIELD:
                raise ApiError(
                    413,
                    f"The field has more than {LONGEST_FIELD} bytes.",
                    param=self._segment.name,
                    code="body_too_large",
                )

    def _end(self) -> None:
        assert self._segment is not None
        name = self._segment.name or ""
        if name != self._file_field:
            try:
                self._fields[name] = self._text.decode()
            except UnicodeDecodeError as error:
                raise BadRequest("The field is not valid UTF-8.", name, "invalid_value") from error
            self._text.clear()


def too_large(param: str, max_bytes: int) -> ApiError:
    """What is larger than it may be."""
    message = f"The file is larger than {max_bytes} bytes."
    return ApiError(413, message, param=param, code=TOO_LARGE)


def _parser(
    request: Request[Any, Any, Any], file_field: str, max_bytes: int
) -> PushMultipartParser:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise BadRequest(
            "The content type must be multipart/form-data, with a boundary.",
            code="invalid_content_type",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("Compressed bodies are not taken.", code="invalid_content_encoding")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes + FRAME:
        raise too_large(file_field, max_bytes)
    try:
        return PushMultipartParser(boundary, max_segment_count=MOST_PARTS)
    except MultipartError as error:
        raise BadRequest(
            f"The boundary is not usable: {error}.", code="invalid_multipart"
        ) from error


def _reason(error: MultipartError) -> str:
    """Its text alone: the library hands on what it was caused by as a second argument."""
    match error.args:
        case (_, UnicodeDecodeError()):
            return "the head of a part is not valid UTF-8"
        case (str(said), *_):
            return said
        case _:
            return str(error)


def _filename(segment: MultipartSegment) -> str:
    """As given; some clients send names beyond ASCII as RFC 2231's `filename*` only."""
    found = segment.filename
    if found is None:
        header = Message()
        header["content-disposition"] = dict(segment.headerlist)["Content-Disposition"]
        found = header.get_filename()
    if found is None:
        raise BadRequest("The file has no name.", segment.name, "invalid_value")
    return found
