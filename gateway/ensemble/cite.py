"""From the winning answer to the text with [n], its annotations and its sources. Pure."""

import re
from collections.abc import Collection, Sequence

from msgspec import Struct

from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.evidence import Sentence
from gateway.ensemble.ground import Evidence, find, ground
from gateway.ensemble.prompt import Passage
from gateway.ensemble.text import ELLIPSIS, one_line, shorten
from gateway.ensemble.values import normalise
from gateway.schema.ensemble import Annotation, Source, UrlCitation

__all__ = ["Citation", "Cited", "cite", "compose", "evidence_text", "sources", "url_of"]

MAX_SENTENCE_CHARS = 320
MARK = re.compile(r"\s*\[\d{1,3}\]")


class Citation(Struct, frozen=True):
    """A passage that the value stands in, where, and its sentence as one line.

    `sentence` is empty where the value runs over more than one.
    """

    passage: Passage
    evidence: Evidence
    sentence: str


class Cited(Struct, frozen=True):
    """The final text, with what its [n] refer to."""

    text: str
    annotations: list[Annotation]
    ref_id: list[str]

    @property
    def numbers(self) -> set[int]:
        """Of the passages that the text cites."""
        marks = [annotation.url_citation for annotation in self.annotations]
        return {int(self.text[mark.start_index + 1 : mark.end_index - 1]) for mark in marks}


def cite(
    answer: MemberAnswer,
    passages: Sequence[Passage],
    ranked: Sequence[Sentence],
) -> tuple[Citation, ...]:
    """The passages that ground an answer, best first; empty if its value stands in none.

    Where the value stands in passages that the member cites, those are taken; else the one
    passage whose sentence with the value fits the question best.
    """
    own = [passage for passage in passages if passage.n in answer.passages]
    others = [passage for passage in passages if passage.n not in answer.passages]
    return _borne_out(answer, own, ranked) or _borne_out(answer, others, ranked)[:1]


def compose(answer: MemberAnswer, citations: Sequence[Citation], *, extractive: bool) -> Cited:
    """The text of an answer with its citations at the end, in code points throughout.

    An extractive member's answer is the sentence its value stands in, word for word: a model that
    is too small to write is not too small to point.
    """
    text = evidence_text(citations[0]) if extractive else _own_text(answer)
    annotations: list[Annotation] = []
    for citation in citations:
        mark = f"[{citation.passage.n}]"
        text = f"{text} {mark}"
        annotations.append(
            Annotation(
                url_citation=UrlCitation(
                    start_index=len(text) - len(mark),
                    end_index=len(text),
                    title=_title(citation.passage),
                    url=url_of(citation.passage.hit.file_id),
                )
            )
        )
    documents = dict.fromkeys(citation.passage.hit.document_id for citation in citations)
    return Cited(text, annotations, list(documents))


def sources(passages: Sequence[Passage], cited: Collection[int] = ()) -> list[Source]:
    """Every passage that was found, by number; `cited` are the numbers of those cited."""
    return [
        Source(
            n=passage.n,
            cited=passage.n in cited,
            document_id=passage.hit.document_id,
            file_id=passage.hit.file_id,
            filename=passage.hit.filename,
            page=passage.hit.page,
            start=passage.hit.start,
            end=passage.hit.end,
            score=passage.hit.score,
            text=passage.hit.text,
        )
        for passage in passages
    ]


def url_of(file_id: str) -> str:
    """Where the gateway serves a file."""
    return f"/v1/files/{file_id}/content"


def _borne_out(
    answer: MemberAnswer, passages: Sequence[Passage], ranked: Sequence[Sentence]
) -> tuple[Citation, ...]:
    """Those of the passages that the value stands in, each by its best sentence, best first."""
    fit = {(s.n, s.start): s for s in ranked}
    found: dict[int, tuple[float, Citation]] = {}
    for passage in passages:
        for evidence in _places(answer, passage, ranked):
            sentence = fit.get((passage.n, evidence.sentence_start))
            if sentence is None:
                continue
            if passage.n not in found or sentence.score > found[passage.n][0]:
                whole = evidence.sentence_end == sentence.end
                citation = Citation(passage, evidence, sentence.text if whole else "")
                found[passage.n] = (sentence.score, citation)
    best = sorted(found.values(), key=lambda item: (-item[0], item[1].passage.n))
    return tuple(citation for _, citation in best)


def _places(
    answer: MemberAnswer, passage: Passage, ranked: Sequence[Sentence]
) -> tuple[Evidence, ...]:
    if normalise(answer.answer_value).text in ("yes", "no"):
        # Yes and no stand nowhere; the sentence nearest to the question is what they rest on.
        if passage.n not in answer.passages:
            return ()
        near = next((s for s in ranked if s.n == passage.n), None)
        return (Evidence(near.start, near.end, near.start, near.end),) if near else ()
    return find(answer.answer_value, passage.hit.text, answer.answer_unit)


def evidence_text(citation: Citation) -> str:
    """The sentence that the value stands in, as the document has it but in one line."""
    if 0 < len(citation.sentence) <= MAX_SENTENCE_CHARS:
        return citation.sentence
    evidence, text = citation.evidence, citation.passage.hit.text
    sentence = text[evidence.sentence_start : evidence.sentence_end]
    start, end = (at - evidence.sentence_start for at in (evidence.start, evidence.end))
    low, high = shorten(sentence, start, end, MAX_SENTENCE_CHARS)
    before = f"{ELLIPSIS} " if low else ""
    after = f" {ELLIPSIS}" if high < len(sentence) else ""
    return f"{before}{one_line(sentence[low:high])}{after}"


def _own_text(answer: MemberAnswer) -> str:
    """The member's own words, its own [n] removed, its value put first if they leave it out."""
    words = " ".join(MARK.sub("", answer.answer).split())
    value = f"{answer.answer_value} {answer.answer_unit}".strip()
    if not words:
        return value
    plain = normalise(answer.answer_value).text in ("yes", "no")
    stands = words.casefold().startswith(answer.answer_value.casefold()) if plain else None
    stands = stands or ground(answer.answer_value, words) is not None
    return words if stands else f"{value}: {words}"


def _title(passage: Passage) -> str:
    hit = passage.hit
    return hit.filename if hit.page is None else f"{hit.filename} (page {hit.page})"
