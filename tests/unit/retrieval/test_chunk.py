import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunk import Chunk, ChunkLimits, chunk_document, chunk_steps
from retrieval.document import Document
from retrieval.formats.read import read_document
from tests.unit.retrieval.fakes import BagEmbedder, count_words


def cut(
    text: str, size: int = 50, overlap: int = 10, max_tokens: int = 256, **document: object
) -> list[Chunk]:
    limits = ChunkLimits(size=size, overlap=overlap, max_tokens=max_tokens)
    return run(Document(**{"text": text, "markup": "markdown", **document}), limits)


def run(document: Document, limits: ChunkLimits) -> list[Chunk]:
    steps = chunk_steps(document, limits)
    asked = next(steps)
    while True:
        try:
            asked = steps.send([count_words(text) for text in asked])
        except StopIteration as stop:
            return stop.value


def words(count: int, word: str = "word") -> str:
    return " ".join(f"{word}{number}" for number in range(count))


PIECES = st.sampled_from(
    [
        *("# Top\n", "## Deeper heading\n", "Title\n===\n", "under\n---\n", "SHOUTED TITLE\n\n"),
        *("- item one\n", "1. first\n   more\n", "| a | b |\n", "```\ncode # no heading\n", "\n"),
        *(
            "A sentence. ",
            "Another one! ",
            "文がここで終わる。",
            "e\u0301te\u0301 ",
            "🙂",
            "\u200f",
        ),
        *("word " * 40, "x" * 300, " " * 50, "\t", "\u2028", "\u00a0", "\x1c", "#", "```\n"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=40), max_size=30).map("".join)


@given(
    text=TEXTS,
    size=st.integers(8, 60),
    share=st.floats(0, 0.5),
    max_tokens=st.integers(4, 80),
    markup=st.sampled_from(["markdown", "plain", "lines"]),
)
def test_chunks_are_spans_that_cover_the_text(
    text: str, size: int, share: float, max_tokens: int, markup: str
) -> None:
    chunks = cut(text, size, int(size * share), max_tokens, markup=markup)
    covered = [False] * len(text)
    previous = -1
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert all(part.strip() for part in chunk.embed_texts)
        assert chunk.embed_texts
        assert chunk.start > previous
        previous = chunk.start
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    assert all(seen or char.isspace() for seen, char in zip(covered, text, strict=True))
    ends = [chunk.end for chunk in chunks]
    assert ends == sorted(set(ends)), "a chunk lies within another"


@given(text=TEXTS, size=st.integers(8, 60), max_tokens=st.integers(24, 80))
def test_nothing_embedded_is_longer_than_the_embedder_reads(
    text: str, size: int, max_tokens: int
) -> None:
    for chunk in cut(text, size, size // 4, max_tokens):
        for part in chunk.embed_texts:
            assert count_words(part) <= max_tokens


def test_small_paragraphs_of_a_section_share_a_chunk_and_sections_do_not() -> None:
    chunks = cut("# A\n\nOne.\n\nTwo.\n\n## B\n\nThree.\n\n# C\n\nFour.\n")
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("A", "# A\n\nOne.\n\nTwo."),
        ("A > B", "## B\n\nThree."),
        ("C", "# C\n\nFour."),
    ]
    assert [chunk.embed_texts[0] for chunk in chunks] == [
        "A\nOne.\n\nTwo.",
        "A > B\nThree.",
        "C\nFour.",
    ]


def test_a_heading_without_text_begins_the_section_below_it() -> None:
    (chunk,) = cut("# Manual\n\n## Printers\n\nPaper jams.\n")
    assert (chunk.start, chunk.heading) == (0, "Manual > Printers")
    assert chunk.embed_texts[0] == "Manual > Printers\nPaper jams."


def test_a_heading_that_stands_alone_is_found_by_its_words() -> None:
    chunks = cut("# Open 9 to 17\n# Phone 123\n")
    assert [chunk.embed_texts[0] for chunk in chunks] == ["Open 9 to 17", "Phone 123"]


def test_code_is_not_read_as_headings() -> None:
    chunks = cut("# A\n\n```sh\n# not a heading\nls\n```\n\nAfter.\n")
    assert [chunk.heading for chunk in chunks] == ["A"]


def test_capitals_alone_on_a_line_are_headings_of_plain_text() -> None:
    text = "USER MANUAL\n\nHello.\n\n1. PRINTERS\n\nPaper.\n\nWARNING do not run.\n"
    assert [chunk.heading for chunk in cut(text, markup="plain")] == [
        "USER MANUAL",
        "USER MANUAL > 1. PRINTERS",
    ]
    assert {chunk.heading for chunk in cut(text)} == {""}


def test_a_table_stays_whole_where_it_fits_and_is_cut_at_rows_where_not() -> None:
    table = "\n".join(f"| row{n} | value |" for n in range(8))  # 5 tokens a row
    before = words(30) + "."
    chunks = cut(f"{before}\n\n{table}\n", size=45)
    assert [chunk.text for chunk in chunks] == [before, table]
    for chunk in cut(table, size=20):
        assert chunk.text.startswith("| row")
        assert chunk.text.endswith("value |")


def test_rows_that_go_on_with_a_table_have_its_head_row_as_a_heading() -> None:
    rows = "".join(f"| E{n} | {words(8)} |\n" for n in range(12))
    chunks = cut(f"# Codes\n\n| Code | Meaning |\n|---|---|\n{rows}\nThe end of it.")
    first, *more = [chunk for chunk in chunks if "| E" in chunk.text]
    assert first.heading == "Codes"
    assert len(more) > 1
    for chunk in more:
        assert chunk.heading == "Codes > Code | Meaning"
    headless = cut(f"# Codes\n\n{rows}")
    assert {chunk.heading for chunk in headless} == {"Codes"}


def test_a_chunk_longer_than_the_embedder_reads_is_embedded_in_parts() -> None:
    text = "# Title\n\n" + " ".join(f"Sentence {n} says {words(5)}." for n in range(20))
    (chunk,) = cut(text, size=400, max_tokens=50)
    assert chunk.text == text
    assert len(chunk.embed_texts) > 3
    assert all(part.startswith("Title\nSentence") for part in chunk.embed_texts)
    bodies = [part.removeprefix("Title\n") for part in chunk.embed_texts]
    assert " ".join(bodies) == text.removeprefix("# Title\n\n")
    assert max(map(count_words, bodies)) < 2 * min(map(count_words, bodies))


def test_every_part_of_a_table_says_what_its_columns_are() -> None:
    rows = "".join(f"| E{n} | {words(8)} |\n" for n in range(12))
    chunks = cut(f"| Code | Meaning |\n|---|---|\n{rows}", size=100, max_tokens=40)
    parts = [part for chunk in chunks for part in chunk.embed_texts]
    assert len(parts) > len(chunks) > 1
    for part in parts:
        assert "Code | Meaning" in part.split("\n")[0]
        assert count_words(part) <= 40


@given(text=TEXTS, size=st.integers(8, 60), share=st.floats(0, 0.5), max_tokens=st.integers(4, 80))
def test_windows_of_words(text: str, size: int, share: float, max_tokens: int) -> None:
    overlap = int(size * share)
    limits = ChunkLimits(size=size, overlap=overlap, max_tokens=max_tokens, unit="words")
    chunks = run(Document(text=text, markup="plain"), limits)
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.embed_texts
        assert all(count_words(part) <= max_tokens for part in chunk.embed_texts if max_tokens > 24)
        assert "".join("".join(chunk.embed_texts).split()) == "".join(chunk.text.split())
    if max(map(len, text.split()), default=0) <= 24:  # a longer word counts as several
        counts = [len(chunk.text.split()) for chunk in chunks]
        assert all(count == size for count in counts[:-1])
    assert bool(chunks) == bool(text.strip())
    if chunks:
        assert chunks[-1].end == len(text.rstrip())


def test_lines_are_cut_between_lines_and_have_no_headings() -> None:
    text = "\n".join(f"# {n}: a. B {words(5)}" for n in range(30))
    chunks = cut(text, size=40, markup="lines")
    assert len(chunks) > 3
    assert {chunk.heading for chunk in chunks} == {""}
    assert all(chunk.text.startswith("# ") for chunk in chunks)


def test_long_paragraphs_are_cut_after_sentences_and_overlap() -> None:
    sentences = [f"Sentence {n} says {words(5)}." for n in range(20)]
    chunks = cut(" ".join(sentences), size=40, overlap=10)
    assert len(chunks) > 3
    for chunk, following in pairwise(chunks):
        assert chunk.text.endswith(".")
        assert following.text.startswith("Sentence")
        assert following.start < chunk.end


def test_pages_are_those_that_hold_most_of_the_chunk() -> None:
    document = read_document(("One. \fTwo two two. " + words(60) + ".\fThree.").encode(), "a.txt")
    pages = [
        chunk.page for chunk in cut(**{f: getattr(document, f) for f in document.__struct_fields__})
    ]
    assert pages[0] == 2
    assert set(pages) == {2}
    assert [chunk.page for chunk in cut("One.\n\n# B\n\nTwo.", page_starts=(0, 6))] == [1, 2]
    assert [chunk.page for chunk in cut("No pages.")] == [None]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "." * 1_000_000,
        "a" + " " * 1_000_000 + "b",
        "ab\n" * 300_000,
        "# a\n\n" * 50_000,
        "ABCD\n\nx\n\n" * 50_000,
        "`" * 500_000,
        "- " * 400_000,
    ],
    ids=["word", "dots", "blanks", "lines", "headings", "capitals", "ticks", "bullets"],
)
def test_time_is_linear_and_chunks_are_bounded(text: str) -> None:
    began = time.process_time()
    chunks = cut(text, size=200, overlap=40, markup="plain" if "ABCD" in text else "markdown")
    assert time.process_time() - began < 20  # linear takes about one second, quadratic minutes
    assert max(len(chunk.text) for chunk in chunks) <= 200 * 8 + 300


def test_an_endless_word_is_not_embedded_again_and_again() -> None:
    # To this tokenizer each run without blanks is one token, however long.
    chunks = cut("x" * 100_000, size=400, overlap=40)
    assert sum(len(chunk.text) for chunk in chunks) <= 1.2 * 100_000


async def test_tokens_are_counted_in_few_batches() -> None:
    calls: list[int] = []

    async def count(texts: list[str]) -> list[int]:
        calls.append(len(texts))
        return await BagEmbedder().count_tokens(texts)

    text = "\n\n".join(f"# H{n}\n\nParagraph {n}. {words(300)}" for n in range(20))
    document = Document(text=text, markup="markdown")
    limits = ChunkLimits(size=50, overlap=10, max_tokens=256)
    chunks = await chunk_document(document, limits, count)
    assert len(chunks) > 100
    assert len(calls) <= 6
    assert chunks == cut(text)
