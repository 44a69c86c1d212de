"""POST /v1/rerank, as Jina, Cohere, vLLM and llama-server have it."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.common import ModelId

__all__ = ["RerankDocument", "RerankRequest", "RerankResult", "RerankUsage", "Reranking"]

MAX_DOCUMENTS = 1000


class RerankDocument(Struct, frozen=True, kw_only=True):
    """A document as an object."""

    text: str


class RerankRequest(Struct, frozen=True, kw_only=True):
    """`documents` are rated by how well each answers `query`; `top_n` best ones are returned.

    The last three are refused: no document is cut off, and all of its text counts.
    """

    model: ModelId
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | RerankDocument], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    return_documents: bool | None = None
    user: str | None = None  # without effect
    max_tokens_per_doc: Any = None
    max_chunks_per_doc: Any = None
    rank_fields: Any = None


class RerankResult(Struct, frozen=True, kw_only=True):
    """A document's place in the request, and its score from 0 to 1."""

    index: int
    relevance_score: float
    document: RerankDocument | UnsetType = UNSET


class RerankUsage(Struct, frozen=True, kw_only=True):
    """Tokens that the model read: the query once for each document, or part of one.

    `cost` as in a chat's usage.
    """

    prompt_tokens: int
    total_tokens: int
    cost: float | UnsetType = UNSET


class Reranking(Struct, frozen=True, kw_only=True):
    """Best first; of equal ones the earlier."""

    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
