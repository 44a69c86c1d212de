"""POST /v1/embeddings."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.common import Item, ModelId

__all__ = ["Embedding", "EmbeddingList", "EmbeddingRequest", "EmbeddingUsage"]

MAX_INPUTS = 2048


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """`input` is a text, texts, one text's token ids, or token ids of several texts."""

    model: ModelId
    input: str | list[Item]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None


class Embedding(Struct, frozen=True, kw_only=True):
    """One vector: numbers, or base64 of little-endian float32."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(Struct, frozen=True, kw_only=True):
    """Tokens of all inputs. `cost` is an extension, as in a chat's usage."""

    prompt_tokens: int
    total_tokens: int
    cost: float | UnsetType = UNSET


class EmbeddingList(Struct, frozen=True, kw_only=True):
    """The vectors in the order of the inputs."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
