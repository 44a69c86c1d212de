"""[n] in a streamed text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.prompt import Passage
from gateway.responses.marks import Marks
from gateway.responses.pieces import Cited, Text
from gateway.schema.items import FileCitation
from retrieval.types import Hit


def passage(n: int) -> Passage:
    hit = Hit(
        chunk_id=n,
        store_id="vs",
        file_id=f"file-{n}",
        document_id=f"d{n}",
        filename=f"{n}.txt",
        page=None,
        heading="",
        start=0,
        end=1,
        score=0.5,
        text="x",
    )
    return Passage(n, hit, "x")


PASSAGES = [passage(n) for n in (1, 2, 12)]


def read(pieces: list[str]) -> tuple[str, list[FileCitation]]:
    marks = Marks(PASSAGES)
    found = [one for piece in pieces for one in marks.add(piece)] + list(marks.end())
    texts = [one.text for one in found if isinstance(one, Text)]
    return "".join(texts), [one.citation for one in found if isinstance(one, Cited)]


@pytest.mark.parametrize(
    ("text", "kept", "cited"),
    [
        ("It is blue [1].", "It is blue [1].", [("1.txt", 11)]),
        ("Both [1, 12] say so", "Both [1, 12] say so", [("1.txt", 5), ("12.txt", 5)]),
        ("Blue [3].", "Blue.", []),
        ("Blue [1; 3].", "Blue [1].", [("1.txt", 5)]),
        ("a [x] [ ] [1", "a [x] [ ] [1", []),
        ("`a[7]` and a[7]", "`a[7]` and a", []),
        ("```\nx[9]\n``` [2]", "```\nx[9]\n``` [2]", [("2.txt", 13)]),
        ("é [2][1]", "é [2][1]", [("2.txt", 2), ("1.txt", 5)]),
    ],
)
def test_what_is_kept_and_cited(text: str, kept: str, cited: list[tuple[str, int]]) -> None:
    found, citations = read([text])
    assert found == kept
    assert [(one.filename, one.index) for one in citations] == cited


@given(st.text(st.sampled_from("a [],;129`\n"), max_size=60), st.data())
def test_pieces_make_no_difference(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    ends = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    assert read(pieces) == read([text])


@given(st.text(st.sampled_from("a [],129`"), max_size=60))
def test_a_citation_stands_where_it_says(text: str) -> None:
    found, citations = read([text])
    for citation in citations:
        assert found[citation.index] == "["
        end = found.index("]", citation.index)
        assert citation.filename.removesuffix(".txt") in found[citation.index + 1 : end].split(", ")
