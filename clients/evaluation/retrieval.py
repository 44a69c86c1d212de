"""`jurat evaluate retrieval`: how good the search is, and each half of it alone.

Over a collection in BEIR's layout, by its judgements of relevance; or over a folder of documents
and a table of questions, by how often the right document, and the text of the right answer, is
among the first passages. The documents go into a store of their own, which is deleted afterwards.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rich.table import Table as Shown

from clients.api import ClientError, add_gateway_options
from clients.documents import gateway_client
from clients.evaluation.beir import Collection, read_collection
from clients.evaluation.dataset import DatasetError, read_table
from clients.evaluation.options import parser_of, print_json
from clients.evaluation.ranking import (
    answers_of,
    discounted_gain,
    has_text,
    has_whole,
    recall,
    reciprocal_rank,
)
from clients.evaluation.temporary_store import (
    MODES,
    MOST_PASSAGES,
    Found,
    TemporaryStore,
    temporary_store,
)
from clients.evaluation.wattbot import references
from clients.show import console

__all__ = ["main", "parser"]

Figures = dict[str, dict[str, float]]

_PASSAGES = 10


class Question:
    """A question, which documents answer it, and with which texts."""

    def __init__(self, text: str, documents: frozenset[str], answers: list[str]) -> None:
        self.text = text
        self.documents = documents
        self.answers = answers


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    if (options.collection is None) == (options.documents is None):
        raise ClientError("Name a folder in BEIR's layout, or --documents with --questions.")
    if (options.documents is None) != (options.questions is None):
        raise ClientError("--documents and --questions belong together.")
    options.k = options.k or [_PASSAGES]
    if not all(1 <= k <= MOST_PASSAGES for k in options.k):
        raise ClientError(f"--k must be from 1 to {MOST_PASSAGES}.")
    found = _of_collection(options) if options.collection else _of_questions(options)
    if options.json:
        print_json(found)
    else:
        _show(found)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of `jurat evaluate retrieval`."""
    made = parser_of("retrieval", "Measure the search, and each half of it alone.")
    made.add_argument(
        "collection",
        nargs="?",
        type=Path,
        metavar="BEIR_DIR",
        help="a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv",
    )
    made.add_argument("--qrels", type=Path, metavar="FILE", help="default: BEIR_DIR/qrels/test.tsv")
    made.add_argument(
        "--drop",
        type=Path,
        metavar="FILE",
        help="a table like the qrels: documents taken out of a query's rankings before scoring",
    )
    made.add_argument("--documents", type=Path, metavar="DIR", help="files to search in")
    made.add_argument(
        "--questions", type=Path, metavar="FILE", action="append", help="CSV or JSONL"
    )
    made.add_argument("--question-column", metavar="NAME", default="question")
    made.add_argument(
        "--answer-column", metavar="NAME", help="default: answer_value, answers or answer"
    )
    made.add_argument(
        "--document-column",
        metavar="NAME",
        help="ids of the right documents, which are their files' names; default: ref_id or title",
    )
    made.add_argument(
        "--k",
        type=int,
        metavar="N",
        action="append",
        help=f"passages that count (default: {_PASSAGES}); may be repeated",
    )
    made.add_argument(
        "--mode", action="append", choices=tuple(MODES), help="default: all three; may be repeated"
    )
    add_gateway_options(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _of_collection(options: argparse.Namespace) -> Figures:
    collection = read_collection(options.collection, options.qrels, options.drop)
    documents = [
        (name, f"{place}.txt", text.encode())
        for place, (name, text) in enumerate(collection.documents.items())
    ]
    queries = list(collection.queries)
    texts = list(collection.queries.values())

    def figures(answers: list[list[Found]]) -> dict[str, float]:
        rankings = {
            query: _documents(passages, collection, query)
            for query, passages in zip(queries, answers, strict=True)
        }
        measures = {"ndcg": discounted_gain, "recall": recall, "mrr": reciprocal_rank}
        return {
            f"{name}@{k}": fmean(
                measure(rankings[query], collection.relevant[query], k) for query in queries
            )
            for k in options.k
            for name, measure in measures.items()
        }

    with gateway_client(options.url, options.api_key) as client, temporary_store(client) as store:
        _fill(store, documents)
        return {
            mode: figures(store.search(texts, mode, MOST_PASSAGES))
            for mode in options.mode or MODES
        }


def _documents(passages: Sequence[Found], collection: Collection, query: str) -> list[str]:
    """Each document once, where its best passage stands."""
    dropped = collection.dropped.get(query, set[str]())
    names = dict.fromkeys(passage.document for passage in passages)
    return [name for name in names if name not in dropped]


def _of_questions(options: argparse.Namespace) -> Figures:
    questions = [one for path in options.questions for one in _read_questions(path, options)]
    documents = _read_documents(options.documents)
    stems = {filename.casefold(): name.casefold() for name, filename, _ in documents}
    for question in questions:  # a table may name files with their ends
        question.documents = frozenset(stems.get(name, name) for name in question.documents)
    texts = [question.text for question in questions]
    with gateway_client(options.url, options.api_key) as client, temporary_store(client) as store:
        _fill(store, documents)
        return {
            mode: _shares(questions, store.search(texts, mode, max(options.k)), options.k)
            for mode in options.mode or MODES
        }


def _shares(
    questions: Sequence[Question], answers: Sequence[Sequence[Found]], ks: Sequence[int]
) -> dict[str, float]:
    """Of how many questions the right document, and the text of an answer, is found."""
    pairs = list(zip(questions, answers, strict=True))
    held: dict[str, Callable[[Question, Found], bool]] = {
        "document": lambda question, one: one.document.casefold() in question.documents,
        "answer": lambda question, one: _any(has_text, question, one),
        "whole_answer": lambda question, one: _any(has_whole, question, one),
    }
    shares = {
        f"{name}@{k}": fmean(
            any(test(question, one) for one in found[:k]) for question, found in pairs
        )
        for k in ks
        for name, test in held.items()
    }
    return {**shares, "questions": len(questions)}


def _any(test: Callable[[str, str], bool], question: Question, passage: Found) -> bool:
    return any(test(passage.text, answer) for answer in question.answers)


def _read_questions(path: Path, options: argparse.Namespace) -> list[Question]:
    """Those that have an answer and a document."""
    table = read_table(path, [options.question_column])
    answers = _column(table.header, options.answer_column, "answer_value", "answers", "answer")
    documents = _column(table.header, options.document_column, "ref_id", "title")
    if answers is None or documents is None:
        raise DatasetError(
            f"{path}: name the columns of the answer and of its document with --answer-column and "
            f"--document-column; there are {', '.join(table.header)}."
        )
    found: list[Question] = []
    for text, answer, document in zip(
        table.column(options.question_column),
        table.column(answers),
        table.column(documents),
        strict=True,
    ):
        known = answers_of(answer)
        names = references(document) - {"is_blank"}
        if known and names:
            found.append(Question(text, names, known))
    if not found:
        raise DatasetError(f"{path}: no question has an answer and a document.")
    return found


def _column(header: Sequence[str], named: str | None, *usual: str) -> str | None:
    if named is not None:
        return named
    return next((name for name in usual if name in header), None)


def _read_documents(folder: Path) -> list[tuple[str, str, bytes]]:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found = [(path.stem, path.name, path.read_bytes()) for path in files]
    except OSError as error:
        raise ClientError(f"{error.filename}: {error.strerror}.") from error
    if not found:
        raise ClientError(f"{folder} has no files.")
    return found


def _fill(store: TemporaryStore, documents: Sequence[tuple[str, str, bytes]]) -> None:
    for problem in store.add(documents):
        sys.stderr.write(f"jurat evaluate retrieval: left out: {problem}\n")


def _show(found: Mapping[str, Mapping[str, float]]) -> None:
    names = list(next(iter(found.values())))
    table = Shown("", *names)
    for mode, figures in found.items():
        table.add_row(
            mode,
            *(
                f"{figures[name]:.3f}" if figures[name] <= 1 else f"{figures[name]:.0f}"
                for name in names
            ),
        )
    console().print(table)
