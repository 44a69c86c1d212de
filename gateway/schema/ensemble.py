"""The ensemble extension: what a request may override and what an answer reports."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "Annotation",
    "AnyStrategy",
    "EnsembleOverride",
    "EnsembleReport",
    "Source",
    "Strategy",
    "UrlCitation",
    "Vote",
]

# Those that need nothing but the votes, and those that ask a model for more.
Strategy = Literal["majority", "first_non_blank", "weighted", "grounded"]
AnyStrategy = Strategy | Literal["confidence", "consensus", "judge"]


class EnsembleOverride(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`extra_body={"ensemble": {...}}`: replaces the ensemble's own settings for one request."""

    members: Annotated[list[str], Meta(min_length=1, max_length=32)] | UnsetType = UNSET
    strategy: AnyStrategy | UnsetType = UNSET
    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=32)] | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    # When to decline, and which sentences small members see (docs/ensemble.md).
    score_floor: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    evidence_floor: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    missing_names: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    missing_kind: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    confidence_floor: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    excerpt_sentences: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    excerpt_margin: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    # How members answer: in words of the passages only, what first, with worked examples or not.
    whole_phrases: bool | UnsetType = UNSET
    extractive: bool | UnsetType = UNSET
    order: Literal["value_first", "explanation_first"] | UnsetType = UNSET
    examples: bool | UnsetType = UNSET
    contrast: bool | UnsetType = UNSET  # whether the value is scored without the passages too
    early_stop: bool | UnsetType = UNSET
    deliberation: bool | UnsetType = UNSET
    events: bool | UnsetType = UNSET  # Open WebUI's `event` objects in a stream


class Vote(Struct, frozen=True, kw_only=True):
    """What one member answered. `passages` are numbers of `sources`; `ref_id` their documents.

    A `stopped` one is empty: its member was not waited for, or not asked, as the outcome stood.
    """

    model: str
    answer: str
    answer_value: str
    answer_unit: str
    is_blank: bool
    ref_id: list[str]
    passages: list[int]
    weight: float
    grounded: bool
    latency_ms: float
    likelihood: float | None = None  # of the value, to its member; where it was asked for
    stopped: bool = False
    error: str | None = None


class Source(Struct, frozen=True, kw_only=True):
    """A passage that was found; `n` is the number it is cited by, and `cited` whether the answer
    rests on it. Nothing that was found supports a declined answer."""

    n: int
    cited: bool = False
    document_id: str
    file_id: str
    filename: str
    page: int | None
    start: int
    end: int
    score: float
    text: str


class EnsembleReport(Struct, frozen=True, kw_only=True):
    """How the answer came to be."""

    strategy: str
    execution: Literal["parallel", "sequential", "swapped"]
    explanation: str
    answer_value: str
    answer_unit: str
    is_blank: bool
    ref_id: list[str]
    agreement: float  # share of the votes' weight behind the answer, 0..1
    confidence: float  # the probability that this is right, or that declining is, 0..1
    votes: list[Vote]
    sources: list[Source]
    features: dict[str, float] = {}  # what the confidence follows from


class UrlCitation(Struct, frozen=True, kw_only=True):
    """OpenAI's url_citation; `start_index` and `end_index` delimit the [n] in the text."""

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(Struct, frozen=True, kw_only=True):
    """A citation in the text, as OpenAI's clients know it."""

    url_citation: UrlCitation
    type: Literal["url_citation"] = "url_citation"
