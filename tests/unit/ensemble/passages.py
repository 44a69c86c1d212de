"""Hits for the tests of the ensemble, and their sentences ranked without an embedder."""

from collections.abc import Sequence

from gateway.ensemble.candidates import candidates
from gateway.ensemble.evidence import Sentence, Text, rank, terms
from gateway.ensemble.prompt import Passage
from retrieval.types import Hit

__all__ = ["ROUTER", "WARRANTY", "WIFI", "hit", "likeness", "ranked", "ranked_texts"]


def likeness(query: str, texts: Sequence[str]) -> list[float]:
    """Stands in for embeddings: the share of the query's words that a text has."""
    asked = terms(query)
    return [len(asked & terms(text)) / max(1, len(asked)) for text in texts]


def ranked_texts(question: str, texts: Sequence[Text]) -> list[Sentence]:
    """The sentences of some texts, best first."""
    found = candidates(question, texts)
    return rank(question, texts, found, likeness(question, [c.embed_text for c in found]))


def ranked(question: str, passages: Sequence[Passage]) -> list[Sentence]:
    """The sentences of some passages, best first."""
    texts = [Text(p.n, p.hit.text, p.hit.heading, p.hit.score, p.hit.document_id) for p in passages]
    return ranked_texts(question, texts)


def hit(text: str, filename: str = "a.md", **fields: object) -> Hit:
    given: dict[str, object] = {
        "chunk_id": 1,
        "store_id": "vs_1",
        "file_id": f"file-{filename}",
        "document_id": filename.rsplit(".", 1)[0],
        "filename": filename,
        "page": None,
        "heading": "",
        "start": 0,
        "end": len(text),
        "score": 0.6,
        "text": text,
    }
    return Hit(**(given | fields))  # pyright: ignore[reportArgumentType]


ROUTER = hit(
    "The R200 keeps its settings when it loses power. To reset the R200, hold the reset button for "
    "12 seconds. The light then turns white.",
    "routers.md",
    heading="Resetting",
    score=0.7,
)
WIFI = hit(
    "A guest is signed off after 24 hours.\n\n- Guests see no printers.", "wifi.md", score=0.4
)
WARRANTY = hit("A monitor has a warranty of 48 months.", "warranty.pdf", page=3, score=0.5)
