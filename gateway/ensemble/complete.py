"""What an extracted value is made before it is compared: a whole phrase, cell or list. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import Citation
from gateway.ensemble.evidence import Sentence
from gateway.ensemble.ground import Evidence, ground
from gateway.ensemble.phrase import whole_phrase
from gateway.ensemble.prompt import Passage
from gateway.ensemble.sought import sought
from gateway.ensemble.table import asked_cell
from gateway.ensemble.text import cells, one_line
from gateway.ensemble.values import normalise

__all__ = ["completed", "whole_list"]


def whole_list(
    answer: MemberAnswer, passages: Sequence[Passage], shown: Sequence[Sentence]
) -> tuple[MemberAnswer, tuple[Citation, ...]] | None:
    """All items of the list that the value is of, if the best of the sentences with it is one.

    `shown` is best first. A number in the line that introduces the list is the value itself.
    """
    best = next((one for one in shown if ground(answer.answer_value, one.text)), None)
    if best is None or not best.items:
        return None
    in_items = any(ground(answer.answer_value, item) for item in best.items)
    if not in_items and normalise(answer.answer_value).kind == "number":
        return None
    items = [item.rstrip(".;,") for item in best.items]
    value = ("; " if any("," in item for item in items) else ", ").join(items)
    passage = next(passage for passage in passages if passage.n == best.n)
    evidence = Evidence(best.start, best.end, best.start, best.end)
    whole = replace(answer, answer_value=value, passages=(best.n,))
    return whole, (Citation(passage, evidence, best.text),)


def completed(
    citation: Citation, ranked: Sequence[Sentence], question: str, max_words: int
) -> str | None:
    """The value whole, where what was said of it is a part, or not what the question asks for."""
    evidence, text = citation.evidence, citation.passage.hit.text
    low, high = evidence.sentence_start, evidence.sentence_end
    place = citation.passage.n, low
    heads = next((one.heads for one in ranked if (one.n, one.start) == place), ())
    cell = asked_cell(heads, cells(text[low:high]), question) if heads else None
    if cell is not None and len(cell.split()) <= max_words:
        asked = sought(cell, 0, 0, question)  # "54 volts" of "54 volts, 1.2 amperes"
        return cell[slice(*asked)] if asked else cell
    span = evidence.start - low, evidence.end - low
    start, end = whole_phrase(text[low:high], *span, question)
    return None if (start, end) == span else one_line(text[low + start : low + end])
