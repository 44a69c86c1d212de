"""EML: the headers that people read, the text, and the names of what is attached.

A message that is attached, as a forwarded one is, is read like the one that has it.
"""

from collections.abc import Sequence
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import cast

from retrieval.document import Document
from retrieval.formats.html_page import decode_html, read_html
from retrieval.formats.plain import normal_newlines
from retrieval.text_encoding import decode_text

__all__ = ["read_mail"]

_HEADERS = ("From", "To", "Cc", "Date")


def read_mail(data: bytes) -> Document:
    """The message's own text, HTML where it has no other. Attached files are only named."""
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(data)
    blocks: list[str] = []
    waiting = [message]
    while waiting:  # not by recursion: messages can be attached to one another a thousand deep
        message = waiting.pop()
        attached = list(message.iter_attachments())
        blocks += _shown(message, attached)
        waiting += reversed([inner for part in attached for inner in _messages(part)])
    return Document(text="\n\n".join(block for block in blocks if block), markup="markdown")


def _shown(message: EmailMessage, attached: Sequence[EmailMessage]) -> list[str]:
    subject = " ".join(str(message.get("Subject", "")).split())
    head = [f"{name}: {value}" for name in _HEADERS if (value := message.get(name))]
    names = [str(part.get_filename() or "") for part in attached]
    named = [" ".join(name.split()) for name in names if name]
    return [
        f"# {subject}" if subject else "",
        "\n".join(" ".join(line.split()) for line in head),
        _body(message),
        f"Attachments: {', '.join(named)}" if named else "",
    ]


def _messages(part: EmailMessage) -> list[EmailMessage]:
    """The message that an attachment is; none where it is a file."""
    if part.get_content_type() != "message/rfc822":
        return []
    payload = part.get_payload()
    inner = cast("list[object]", payload) if isinstance(payload, list) else []
    return [each for each in inner if isinstance(each, EmailMessage)]


def _body(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    if part.get_content_subtype() == "html":
        return read_html(decode_html(content, part.get_content_charset())).text
    charset = part.get_content_charset()
    try:
        text = content.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = decode_text(content)
    return normal_newlines(text).strip()
