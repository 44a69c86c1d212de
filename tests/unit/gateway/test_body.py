"""Bad bodies: always a 400 that names the place."""

import contextlib
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from gateway.body import decode
from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest


class Inner(Struct):
    size: Annotated[int, Meta(ge=1)]


class Outer(Struct):
    name: str
    items: list[Inner] = []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"name": 3}', "name"),
        (b"{}", "name"),
        (b'{"name": "a", "items": [{"size": "1"}]}', "items[0].size"),
        (b'{"name": "a", "items": [{"size": 1}, {"size": 0}]}', "items[1].size"),
        (b'{"name": "a", "items": [{}]}', "items[0].size"),
        (b'{"name": "a", "items": [{"size": 1e999}]}', "items[0].size"),
        (b"[]", None),
        (b"", None),
        (b"  ", None),
        (b"{", None),
        (b'{"name": "\xff"}', None),
        (b'{"name": "a", "items": NaN}', None),
        (b'{"name": "a"} b', None),
        (b"\xef\xbb\xbf{}", None),
        (b'{"name": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", None),
        (b"[" * 200_000, None),
    ],
)
def test_a_bad_body_is_a_400(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(body, Outer)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert caught.value.message


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\uD83D\\u0041", "\\ud83d\\ud83d\\ude00"])
@pytest.mark.parametrize("rest", ["", " and more"])
def test_half_of_a_pair_is_named(half: str, rest: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(f'{{"name": "\\ud83d\\ude00{half}{rest}"}}'.encode(), Outer)
    assert f"{half[:6]} (byte 22) is half of a surrogate pair" in caught.value.message


def test_unknown_fields_are_ignored() -> None:
    assert decode(b'{"name": "a", "new": {"x": [1]}}', Outer) == Outer("a")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(b"\x00" + body, ChatRequest)
    with contextlib.suppress(BadRequest):
        decode(body, ChatRequest)
