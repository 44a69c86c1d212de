"""EML: the headers that people read, the text, and the names of what is attached."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from retrieval.document import Document
from retrieval.formats.html_page import decode_html, read_html
from retrieval.formats.plain import normal_newlines
from retrieval.text_encoding import decode_text

__all__ = ["read_mail"]

_HEADERS = ("From", "To", "Cc", "Date")


def read_mail(data: bytes) -> Document:
    """The message's own text, HTML where it has no other. Attachments are only named."""
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(data)
    subject = " ".join(str(message.get("Subject", "")).split())
    head = [f"{name}: {value}" for name in _HEADERS if (value := message.get(name))]
    attached = [str(part.get_filename() or "") for part in message.iter_attachments()]
    named = [" ".join(name.split()) for name in attached if name]
    blocks = [
        f"# {subject}" if subject else "",
        "\n".join(" ".join(line.split()) for line in head),
        _body(message),
        f"Attachments: {', '.join(named)}" if named else "",
    ]
    return Document(text="\n\n".join(block for block in blocks if block), markup="markdown")


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
