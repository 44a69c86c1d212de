"""EML: the headers that people read, the text, and the names of what is attached.

A message that is attached, as a forwarded one is, is read like the one that has it.
"""

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import NamedTuple, cast

from retrieval.document import Document
from retrieval.formats.html_page import decode_html, read_html
from retrieval.formats.plain import normal_newlines
from retrieval.text_encoding import decode_text

__all__ = ["read_mail"]

_HEADERS = ("From", "To", "Cc", "Date")
_HEAD = re.compile(rb".*?(?=\r?\n\r?\n)", re.DOTALL)


class _Content(NamedTuple):
    """What is in a message, in its order."""

    texts: list[str]
    names: list[str]  # of attached files
    messages: list[EmailMessage]


def read_mail(data: bytes) -> Document:
    """The message's own text, HTML where it has no other. Attached files are only named."""
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(_head_as_utf8(data))
    blocks: list[str] = []
    waiting = [message]
    while waiting:  # not by recursion: messages can be attached to one another a thousand deep
        message = waiting.pop()
        content = _content(message)
        blocks += _shown(message, content)
        waiting += reversed(content.messages)
    return Document(text="\n\n".join(block for block in blocks if block), markup="markdown")


def _head_as_utf8(data: bytes) -> bytes:
    """Headers should be ASCII; letters that are not are taken for UTF-8 by the library."""
    head = _HEAD.match(data)
    if head is None or head[0].isascii():
        return data
    return decode_text(head[0]).encode() + data[head.end() :]


def _shown(message: EmailMessage, content: _Content) -> list[str]:
    subject = " ".join(str(message.get("Subject", "")).split())
    head = [f"{name}: {value}" for name in _HEADERS if (value := message.get(name))]
    named = [" ".join(name.split()) for name in content.names]
    return [
        f"# {subject}" if subject else "",
        "\n".join(" ".join(line.split()) for line in head),
        *content.texts,
        f"Attachments: {', '.join(named)}" if named else "",
    ]


def _content(part: EmailMessage) -> _Content:
    kind = part.get_content_type()
    if kind == "message/rfc822":
        return _Content([], [], _messages(part))
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        inner = [(one.get_content_type(), _content(one)) for one in _messages(part)]
        if kind == "multipart/alternative":
            # The same once more, for other readers: plain text before the rest, if it has any.
            inner.sort(key=lambda one: one[0] != "text/plain")
            told = [content.texts for _, content in inner if content.texts]
            texts = told[0] if told else []
        else:
            texts = [text for _, content in inner for text in content.texts]
        return _Content(
            texts,
            [name for _, content in inner for name in content.names],
            [message for _, content in inner for message in content.messages],
        )
    name = part.get_filename()
    text = "" if part.is_attachment() else _text(part).strip()
    return _Content([text] if text else [], [name] if name else [], [])


def _messages(part: EmailMessage) -> list[EmailMessage]:
    payload = part.get_payload()
    inner = cast("list[object]", payload) if isinstance(payload, list) else []
    return [each for each in inner if isinstance(each, EmailMessage)]


def _text(part: EmailMessage) -> str:
    """Of a part that is shown. One that should have parts and has none is taken for plain text."""
    if part.get_content_type() not in ("text/plain", "text/html") and (
        part.get_content_maintype() != "multipart"
    ):
        return ""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    charset = part.get_content_charset()
    if part.get_content_subtype() == "html":
        return read_html(decode_html(content, charset)).text
    try:
        text = content.decode(charset or "utf-8")
    except (LookupError, UnicodeError):
        text = decode_text(content)
    return normal_newlines(text)
