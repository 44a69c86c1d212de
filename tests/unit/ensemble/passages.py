"""Hits for the tests of the ensemble."""

from retrieval.types import Hit

__all__ = ["ROUTER", "WARRANTY", "WIFI", "hit"]


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
