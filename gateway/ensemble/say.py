"""The deliberation's words. Pure; every text is whole lines."""

import math
from collections.abc import Sequence

from gateway.ensemble.contrast import Contrast
from gateway.ensemble.prompt import Passage
from gateway.ensemble.tally import Finding
from gateway.schema.ensemble import Vote

__all__ = [
    "again",
    "asking",
    "concluded",
    "farther",
    "found",
    "judge_failed",
    "loading",
    "searching",
    "shortened",
    "spared",
    "voted",
]


def found(passages: Sequence[Passage], floor: float) -> str:
    """What the search brought; `floor` is the least score it asked for."""
    if not passages:
        return f"No passage scores {floor:g} or more.\n"
    plural = "" if len(passages) == 1 else "s"
    lines = [f"Found {len(passages)} passage{plural}:"]
    for passage in passages:
        hit = passage.hit
        page = f", page {hit.page}" if hit.page is not None else ""
        heading = f", {hit.heading}" if hit.heading else ""
        lines.append(f"[{passage.n}] {hit.filename}{page}{heading} ({hit.score:.2f})")
    return "\n".join(lines) + "\n"


def farther(floor: float) -> str:
    """No sentence speaks to the question."""
    return f"No sentence speaks to the question; searching down to {floor:g}.\n"


def asking(names: Sequence[str], execution: str) -> str:
    """Who is asked."""
    how = {
        "parallel": "at the same time",
        "sequential": "one after the other",
        "swapped": "one after the other, as memory has no room for all",
    }
    together = f", {how.get(execution, execution)}" if len(names) > 1 else ""
    return f"Asking {', '.join(names)}{together}.\n"


def searching(queries: Sequence[str]) -> str:
    """What is searched for, where it is not the question as it was asked."""
    return f"Searching for {'; '.join(f'“{query}”' for query in queries)}.\n"


def loading(model: str) -> str:
    """A model is not in memory yet."""
    return f"Loading {model}.\n"


def shortened(names: Sequence[str], passages: int) -> str:
    """Who cannot read all passages."""
    best = f"the best {passages} passages" if passages > 1 else "the best passage"
    return f"The prompt is too long for {', '.join(names)}; asking again with {best}.\n"


def spared(names: Sequence[str]) -> str:
    """Whose votes are not needed."""
    return f"Not waiting for {', '.join(names)}: the outcome stands.\n"


def again(top_k: int) -> str:
    """Most found no answer; there may be one in more passages."""
    return f"Most find no answer in them; looking at {top_k} passages.\n"


def voted(vote: Vote) -> str:
    """One member's vote, as it arrives."""
    seconds = f"{vote.latency_ms / 1000:.1f} s"
    if vote.error is not None:
        return f"{vote.model} failed after {seconds}: {vote.error}\n"
    if vote.is_blank:
        return f"{vote.model} finds no answer ({seconds}).\n"
    cited = "".join(f" [{n}]" for n in vote.passages)
    value = f"{vote.answer_value} {vote.answer_unit}".strip()
    doubt = ", which does not say so" if cited and not vote.grounded else ""
    return f"{vote.model} answers “{value}”{cited}{doubt} ({seconds}).\n"


def concluded(finding: Finding, scored: Contrast | None) -> str:
    """How likely the winner's value is, where it was scored; the count, and what follows."""
    weighed = ""
    if scored is not None:
        weighed = (
            f"A token of its value has a probability of {math.exp(scored.shown):.2g} with the "
            f"passages, of {math.exp(scored.alone):.2g} without.\n"
        )
    end = "" if finding.answer else " Declined."
    return f"{finding.explanation}{end}\n{weighed}"


def judge_failed(error: Exception) -> str:
    """The vote stands without a judge."""
    return f"The judge failed, so the vote stands: {error}\n"
