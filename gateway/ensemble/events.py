"""What goes into an ensemble and what comes out of it while it works."""

from msgspec import Struct

from gateway.schema.ensemble import Annotation, EnsembleOverride, EnsembleReport
from models.types import Message, Timings, Usage

__all__ = ["Answer", "Deliberation", "EnsembleRequest", "Event", "Verdict"]


class EnsembleRequest(Struct, frozen=True, kw_only=True):
    """A chat for an ensemble. `owner` is whose stores are searched and whose caches are used.

    `max_tokens` bounds each member; `temperature` and `top_p` replace the members' own;
    `flex` makes all of them batch work. With `schema` (JSON) they answer in it, and so does the
    verdict.
    """

    messages: tuple[Message, ...]
    owner: str
    override: EnsembleOverride | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    flex: bool = False
    schema: str | None = None


class Deliberation(Struct, frozen=True):
    """A step on the way, told for people: whole lines. Not `shown`: kept out of the answer."""

    text: str
    shown: bool = True


class Answer(Struct, frozen=True):
    """A piece of the final text; all pieces together are `Verdict.text`."""

    text: str


class Verdict(Struct, frozen=True, kw_only=True):
    """The end: the answer and how it came to be. `usage` is the sum over the members.

    `timings` are the members', those that ran at the same time counted once. `refused`: there is
    no answer in the schema that was asked for, and the text says why.
    """

    text: str
    reasoning: str  # every Deliberation that is shown, joined
    annotations: list[Annotation]
    report: EnsembleReport
    usage: Usage
    timings: Timings
    retrieval_ms: float
    vote_ms: float = 0.0  # of processor time: reading, grounding, counting and citing
    refused: bool = False


Event = Deliberation | Answer | Verdict
