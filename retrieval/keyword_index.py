"""Which passages of one store have the words of a query: BM25. The only home of tantivy.

A directory of tantivy's immutable segments, derived from the database. A commit is atomic there;
a search sees the last one, and never waits for the next.
"""

import json
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Filter, Occur, Query, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from retrieval.durable import replace_durably
from retrieval.errors import IndexDamaged
from retrieval.words import MEANING, document_words, query_words

__all__ = ["KeywordIndex", "Matches"]

Ids = NDArray[np.int64]

_FORMAT = f"1.{MEANING}"  # what is indexed and how; an index of another format is damaged
_STATE = "state.json"
_ANALYZER = "words"
_HEAP_BYTES = 32 * 1024 * 1024  # of a writer; tantivy wants 15 MB at least
_MANY_TERMS = 256  # a query of more words is a text; the first of them tell what it is about

# tantivy has the function words of these languages; its English list lacks the words of questions.
_LANGUAGES = (
    *("danish", "dutch", "finnish", "french", "german", "hungarian", "italian", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish"),
)
_ENGLISH = """
a about after all also am an and any are as at be because been before being but by can could did
do does doing for from had has have having he her here him his how i if in into is it its many me
might more most much my no not of on or our over shall she should so some such than that the their
them then there these they this those to under was we were what when where which while who whom
whose why will with would you your
"""
_SPACED = re.compile(r"\S+")


class Matches(NamedTuple):
    """Chunk ids and their BM25 scores, best first."""

    ids: Ids
    scores: NDArray[np.float32]


class KeywordIndex:
    """Opens or creates the index in `path`. Raises IndexDamaged for what cannot be read.

    Searches may run while one writer at a time changes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_files(path)
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("chunk", indexed=True, fast=True)
        builder.add_text_field("words", tokenizer_name=_ANALYZER, index_option="freq")
        self._schema = builder.build()
        self._stems = _stemmer()
        with _damage(path):
            self._index = tantivy.Index(self._schema, str(path))
            self._index.register_tokenizer(_ANALYZER, self._stems)
            # Not by watching the directory, which takes a thread.
            self._index.config_reader("manual")
            self._index.reload()
            self._searcher = self._index.searcher()

    def __len__(self) -> int:
        return self._searcher.num_docs

    def newest(self) -> int:
        """The highest chunk id, 0 for none."""
        with _damage(self._path):
            found = self._searcher.search(
                Query.all_query(), 1, count=False, order_by_field="chunk"
            ).hits
        return int(found[0][0]) if found else 0

    def ids(self) -> Ids:
        """All chunk ids, ascending."""
        if not len(self):
            return np.empty(0, np.int64)
        with _damage(self._path):
            searcher = self._searcher
            found = searcher.search(Query.all_query(), searcher.num_docs, count=False).hits
            places = [place for _, place in found]
            return np.sort(np.array(searcher.fast_field_values("chunk", places), np.int64))

    def search(self, query: str, k: int, within: Ids | None = None) -> Matches:
        """The up to `k` passages that have words of `query`; of `within` alone, if given."""
        words = self._stems.analyze(" ".join(query_words(_without_stop_words(query))))
        terms = [
            (Occur.Should, Query.term_query(self._schema, "words", word, "freq"))
            for word in list(dict.fromkeys(words))[:_MANY_TERMS]
        ]
        if not terms or k <= 0 or (within is not None and not len(within)):
            return Matches(np.empty(0, np.int64), np.empty(0, np.float32))
        asked = Query.boolean_query(terms)
        if within is not None:
            allowed = Query.term_set_query(self._schema, "chunk", within.tolist())
            asked = Query.boolean_query(
                [(Occur.Must, asked), (Occur.Must, Query.const_score_query(allowed, 0.0))]
            )
        with _damage(self._path):
            searcher = self._searcher
            found = searcher.search(asked, k, count=False).hits
            ids = searcher.fast_field_values("chunk", [place for _, place in found])
        scores = [cast("float", score) for score, _ in found]
        return Matches(np.array(ids, np.int64), np.array(scores, np.float32))

    def apply(self, added: Iterable[tuple[int, str]], removed: Sequence[int] = ()) -> None:
        """Adds texts by chunk id, forgets others, and shows both at once. Durable on return."""
        with _damage(self._path):
            # One thread: the models own the cores.
            writer = self._index.writer(_HEAP_BYTES, 1)
            if removed:
                gone = Query.term_set_query(self._schema, "chunk", list(removed))
                writer.delete_documents_by_query(gone)
            for chunk_id, text in added:
                document = tantivy.Document()
                document.add_unsigned("chunk", chunk_id)
                document.add_text("words", " ".join(document_words(text)))
                writer.add_document(document)
            writer.commit()
            self._show()
            writer.wait_merging_threads()
            self._show()
        _write_state(self._path)

    def _show(self) -> None:
        self._index.reload()
        self._searcher = self._index.searcher()


def _stemmer() -> TextAnalyzer:
    # English endings; on words of other languages it does next to nothing, and does the same to
    # the query's. Measured: docs/retrieval-quality.md.
    return TextAnalyzerBuilder(Tokenizer.whitespace()).filter(Filter.stemmer("english")).build()


def _stop_filters() -> list[TextAnalyzer]:
    filters = [Filter.custom_stopword([*_ENGLISH.split()]), *map(Filter.stopword, _LANGUAGES)]
    return [TextAnalyzerBuilder(Tokenizer.whitespace()).filter(one).build() for one in filters]


_STOP_FILTERS = _stop_filters()


def _without_stop_words(query: str) -> str:
    """The query without the function words of its language; all of it if nothing else is left.

    Its language is English, unless more of its words, and at least two, are function words of
    another: "war" is one in German, and tells something in English.
    """
    words = [_bare(word) for word in _SPACED.findall(query.casefold())]
    text = " ".join(words)
    kept, *others = (found.analyze(text) for found in _STOP_FILTERS)
    shortest = min(others, key=len)
    if len(shortest) < len(kept) and len(shortest) <= len(text.split()) - 2:
        kept = shortest
    return " ".join(kept) if kept else text


def _bare(word: str) -> str:
    """Without the marks around it."""
    while word and not word[0].isalnum():
        word = word[1:]
    while word and not word[-1].isalnum():
        word = word[:-1]
    return word


@contextmanager
def _damage(path: Path) -> Generator[None]:
    """What tantivy makes of files that are not as it left them is one error."""
    try:
        yield
    except Exception as error:
        raise IndexDamaged(f"{path}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3's, which has no importable name
            raise
        raise IndexDamaged(f"{path}: {error}") from error


def _check_files(path: Path) -> None:
    """Raises IndexDamaged where a file is not as it was written. Segments never change."""
    try:
        state = json.loads((path / _STATE).read_bytes())
    except FileNotFoundError:
        if any(path.iterdir()):
            raise IndexDamaged(f"{path}: {_STATE} is missing") from None
        return
    except ValueError:
        raise IndexDamaged(f"{path / _STATE} is not JSON") from None
    try:
        format_, files = state["format"], dict[str, list[int]](state["files"])
    except (KeyError, TypeError, ValueError):
        raise IndexDamaged(f"{path / _STATE} is incomplete") from None
    if format_ != _FORMAT:
        raise IndexDamaged(f"{path}: of format {format_}, not {_FORMAT}")
    for name, written in _segment_files(path).items():
        if files.get(name, written) != written:
            raise IndexDamaged(f"{path / name} has changed")


def _write_state(path: Path) -> None:
    draft = path / f"{_STATE}.new"
    draft.write_text(json.dumps({"format": _FORMAT, "files": _segment_files(path)}))
    replace_durably(draft, path / _STATE)


def _segment_files(path: Path) -> dict[str, list[int]]:
    """Size and time of writing of each file of a segment; those have a hexadecimal name."""
    found: dict[str, list[int]] = {}
    for file in path.iterdir():
        if re.fullmatch(r"[0-9a-f]{32}\..+", file.name):
            stat = file.stat()
            found[file.name] = [stat.st_size, stat.st_mtime_ns]
    return found
