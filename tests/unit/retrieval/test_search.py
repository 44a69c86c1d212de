import pytest

from retrieval.errors import InvalidRequest
from retrieval.filters import parse
from retrieval.fuse import Weights
from retrieval.library import Library
from tests.unit.retrieval.test_library import filled

GUIDE = (
    "guide.md",
    b"# Guide\n\n## One\n\nThe first step.\n\n## Two\n\nThe second step.\n\n## Three\n\nDone.\n",
)
STORES = ["docs"]


async def test_every_passage_has_its_cosine_and_comes_by_relevance(library: Library) -> None:
    await filled(library)
    near = await library.search(
        "paper jam", owner="ann", stores=STORES, hybrid=Weights(embedding=1, text=0)
    )
    words = await library.search(
        "paper jam", owner="ann", stores=STORES, hybrid=Weights(embedding=0, text=1)
    )
    both = await library.search("paper jam", owner="ann", stores=STORES)
    cosines = {hit.chunk_id: hit.score for hit in near}
    assert [hit.filename for hit in words] == ["printer.md"]
    for hit in [*words, *both]:
        assert hit.score == pytest.approx(cosines[hit.chunk_id], abs=1e-5)
    assert [hit.relevance for hit in words] == [1.0]
    assert both == sorted(both, key=lambda hit: -hit.relevance)
    assert all(hit.relevance == pytest.approx(max(hit.score, 0), abs=1e-5) for hit in near)


async def test_words_find_what_is_under_no_floor(library: Library) -> None:
    await filled(library)
    hits = await library.search("P-108", owner="ann", stores=STORES, score_floor=0.99)
    assert hits == []


async def test_words_of_any_script_are_found_at_once(library: Library) -> None:
    await filled(library, ("ja.txt", "東京都の人口は約1400万人です。".encode()))
    only_words = Weights(embedding=0, text=1)
    hits = await library.search("人口", owner="ann", stores=STORES, hybrid=only_words)
    assert [hit.filename for hit in hits] == ["ja.txt"]
    await filled(library, ("ja.txt", b"gone"))
    assert await library.search("人口", owner="ann", stores=STORES, hybrid=only_words) == []


async def test_a_filter_holds_for_both_kinds(library: Library) -> None:
    await filled(library)
    none = parse({"type": "eq", "key": "kind", "value": "manual"})
    assert await library.search("paper jam", owner="ann", stores=STORES, filters=none) == []
    all_but = parse({"type": "ne", "key": "kind", "value": "manual"})
    hits = await library.search("paper jam", owner="ann", stores=STORES, filters=all_but)
    assert len(hits) == 2


async def test_neighbours_widen_a_passage_to_the_text_around_it(library: Library) -> None:
    await filled(library, GUIDE)
    text = GUIDE[1].decode()
    (hit, *_) = await library.search("second step", owner="ann", stores=STORES, limit=1)
    (wide,) = await library.search("second step", owner="ann", stores=STORES, limit=1, neighbours=1)
    assert wide.text == text[wide.start : wide.end]
    assert hit.text in wide.text
    assert "first step" in wide.text
    assert "Done." in wide.text
    joined = await library.search("step", owner="ann", stores=STORES, limit=5, neighbours=10)
    assert len(joined) == 1
    assert "".join(joined[0].text.split()) in "".join(text.split())


async def test_a_reranker_has_the_last_word(library: Library) -> None:
    await filled(library)

    async def rerank(query: str, texts: list[str] | tuple[str, ...]) -> list[float]:
        return [float("reset" in text) for text in texts]

    hits = await library.search("paper jam", owner="ann", stores=STORES, limit=1, rerank=rerank)
    assert [hit.filename for hit in hits] == ["router.md"]


async def test_diversity_and_several_queries(library: Library) -> None:
    await filled(library)
    hits = await library.search(
        ["paper jam", "reset button"], owner="ann", stores=STORES, diversity=0.5, limit=2
    )
    assert {hit.filename for hit in hits} == {"printer.md", "router.md"}


@pytest.mark.parametrize(
    ("name", "value"), [("diversity", 1.5), ("neighbours", 11), ("neighbours", -1)]
)
async def test_arguments_out_of_range(library: Library, name: str, value: float) -> None:
    await filled(library)
    with pytest.raises(InvalidRequest) as refused:
        await library.search("jam", owner="ann", stores=STORES, **{name: value})
    assert refused.value.param == name
