"""The `file_search` tool: passages for a question, and the prompt that they are read in."""

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from gateway.convert.documents import hybrid_weights
from gateway.convert.items import text_of
from gateway.convert.responses import FileSearch
from gateway.ensemble.prompt import Passage, neutral, number_passages
from gateway.errors import BadRequest
from gateway.runtime import Runtime
from gateway.schema.items import FileResult, InputText, MessageItem, StoredItem
from gateway.schema.response_tools import FileSearchTool
from gateway.schema.vector_stores import RankingOptions
from retrieval.errors import InvalidRequest, StoreNotFound
from retrieval.filters import parse
from retrieval.types import Hit

__all__ = ["find", "results_of", "with_passages"]

USUAL = 10  # passages
CITE = (
    "Answer from the passages above. After each statement put the number of the passage that it "
    "is from in square brackets, like [1]. If the passages do not answer the question, say so."
)
ANSWER = "Answer from the passages above."


async def find(runtime: Runtime, owner: str, search: FileSearch, query: str) -> list[Hit]:
    """What the stores have for a question, best first. Raises BadRequest, errors of retrieval."""
    tool, place = search
    if not query:
        message = "file_search looks for the last user message; there is none."
        raise BadRequest(message, "input")
    library = runtime.library
    options = tool.ranking_options or RankingOptions()
    weights = hybrid_weights(options.hybrid_search, f"{place}.ranking_options")
    filters = parse(tool.filters, f"{place}.filters") if tool.filters else None
    stores: list[str] = []
    for number, store in enumerate(tool.vector_store_ids):
        try:
            stores.append((await library.catalog.store(owner, store)).id)
        except StoreNotFound as error:
            raise type(error)(store, f"{place}.vector_store_ids[{number}]") from error
    try:
        hits = await library.search(
            [query],
            owner=owner,
            stores=stores,
            limit=tool.max_num_results or USUAL,
            filters=filters,
            hybrid=weights,
        )
    except StoreNotFound as error:  # deleted or expired meanwhile
        raise type(error)(error.name, f"{place}.vector_store_ids") from error
    except InvalidRequest as error:
        if error.param == "query":
            raise BadRequest(f"The question cannot be searched for: {error}", "input") from error
        raise
    return [hit for hit in hits if hit.relevance >= _threshold(tool)]


def results_of(hits: Sequence[Hit]) -> list[FileResult]:
    """What was found as the wire has it."""
    return [
        FileResult(
            file_id=hit.file_id,
            filename=hit.filename,
            score=min(max(hit.relevance, 0.0), 1.0),
            text=hit.text,
            attributes=hit.attributes,
        )
        for hit in hits
    ]


def with_passages(
    items: Sequence[StoredItem], hits: Sequence[Hit], *, cite: bool
) -> tuple[list[StoredItem], tuple[Passage, ...]]:
    """The items with the passages before the last question, as data, and their numbers.

    With `cite` the model is asked to cite them.
    """
    passages = number_passages(hits)
    asked = max(
        place
        for place, item in enumerate(items)
        if isinstance(item, MessageItem) and item.role == "user"
    )
    question = items[asked]
    assert isinstance(question, MessageItem)
    blocks = [f"[{p.n}] {neutral(_title(p.hit))}\n{p.shown}" for p in passages]
    found = "\n\n".join(blocks) or "(Nothing was found.)"
    text = (
        f"Passages from the documents:\n\n{found}\n\n{CITE if cite else ANSWER}\n\n"
        f"Question: {text_of(question.content)}"
    )
    changed = replace(question, content=[InputText(text=text)])
    return [*items[:asked], changed, *items[asked + 1 :]], passages


def _threshold(tool: FileSearchTool) -> float:
    given = tool.ranking_options.score_threshold if tool.ranking_options is not None else None
    return 0.0 if given is UNSET or given is None else given


def _title(hit: Hit) -> str:
    return f"{hit.filename}: {hit.heading}" if hit.heading else hit.filename
