"""How documents are cut and taken; decoded from the configuration's `[retrieval]` table."""

from msgspec import Struct

__all__ = ["RetrievalSettings"]

_SMALLEST_CHUNK = 8


class RetrievalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raises ValueError for values that contradict each other.

    `chunk_tokens` counts tokens of the embedder's own tokenizer, without special tokens and
    without the headings put before a chunk. A chunk longer than the embedder reads is embedded in
    several parts. With `chunk_words` set, chunks are windows of so many words instead, wherever
    headings and paragraphs begin.
    """

    chunk_tokens: int = 400
    chunk_overlap_tokens: int = 40
    chunk_words: int | None = None
    chunk_overlap_words: int = 100
    max_file_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.chunk_tokens < _SMALLEST_CHUNK:
            raise ValueError(f"chunk_tokens must be at least {_SMALLEST_CHUNK}")
        if not 0 <= self.chunk_overlap_tokens <= self.chunk_tokens // 2:
            # With more, a document would be stored and embedded more than twice over.
            raise ValueError("chunk_overlap_tokens must be from 0 to half of chunk_tokens")
        if self.chunk_words is not None:
            if self.chunk_words < _SMALLEST_CHUNK:
                raise ValueError(f"chunk_words must be at least {_SMALLEST_CHUNK}")
            if not 0 <= self.chunk_overlap_words <= self.chunk_words // 2:
                raise ValueError("chunk_overlap_words must be from 0 to half of chunk_words")
        if self.max_file_bytes < 1:
            raise ValueError("max_file_bytes must be positive")
