"""An experiment as written in configs/experiments/NAME.toml: what is asked of whom, and how."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from clients.api import ClientError

__all__ = ["EXPERIMENTS", "ExperimentSettings", "Overrides", "Price", "read_settings"]

EXPERIMENTS = Path("configs/experiments")

Positive = Annotated[float, Meta(gt=0)]


class Overrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the request changes of an ensemble, as the gateway's `ensemble` object."""

    members: list[str] = []
    strategy: str = ""
    vector_store_ids: list[str] = []
    top_k: int | None = None
    early_stop: bool | None = None
    score_floor: float | None = None
    evidence_floor: float | None = None
    missing_names: float | None = None
    missing_kind: float | None = None
    contrast: bool | None = None
    confidence_floor: float | None = None
    excerpt_sentences: int | None = None
    excerpt_margin: float | None = None
    whole_phrases: bool | None = None
    extractive: bool | None = None
    order: str = ""
    examples: bool | None = None


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for a million tokens."""

    prompt: Annotated[float, Meta(ge=0)] = 0.0
    completion: Annotated[float, Meta(ge=0)] = 0.0


class ExperimentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One experiment. `size_b` (billions of parameters), `display_name` and `notes` are for plots;
    a gateway knows those of its models, so they are needed only where it does not.

    `prompt` is a template with {question}. An answer that is a JSON object gives its own
    answer_value, ref_id, …; any other answer is the value as a whole.
    """

    model: Annotated[str, Meta(min_length=1)]
    questions: str = ""  # a path, from the file's own folder
    provider: Literal["local", "upstream"] | None = None  # None: as the endpoint says
    url: str | None = None
    system: str = ""
    prompt: str = "{question}"
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 3
    retries: Annotated[int, Meta(ge=0, le=20)] = 2
    timeout_s: Positive = 600.0
    ensemble: Overrides | None = None
    request: dict[str, Any] = {}  # temperature, max_tokens, seed, response_format, …
    price: Price | None = None
    display_name: str = ""
    size_b: Positive | None = None
    size_estimated: bool = False
    notes: str = ""

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise ValueError("prompt must have {question}")


def read_settings(path: Path) -> ExperimentSettings:
    """An experiment's file, with the path of its questions resolved. Raises ClientError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found = msgspec.convert(table, ExperimentSettings)
    except OSError as error:
        raise ClientError(f"Cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ClientError(f"{path}: {error}.") from error
    if found.questions:
        questions = str((path.parent / found.questions).resolve())
        found = msgspec.structs.replace(found, questions=questions)
    return found
