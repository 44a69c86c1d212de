"""A collection in BEIR's layout: corpus.jsonl, queries.jsonl, and a table of what is relevant."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from clients.evaluation.dataset import DatasetError

__all__ = ["Collection", "read_collection"]

_QRELS = Path("qrels/test.tsv")


class Collection(Struct, frozen=True, kw_only=True):
    """Texts of documents, queries, and the gains of relevant documents, by query; all by id.

    `dropped` are documents, by query, that are taken out of its rankings. Only queries that have
    a relevant document are there. Documents without text are not.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, float]]
    dropped: dict[str, set[str]]


def read_collection(folder: Path, qrels: Path | None, drop: Path | None) -> Collection:
    """Raises DatasetError, which names the file and the line."""
    documents: dict[str, str] = {}
    for row in _lines(folder / "corpus.jsonl"):
        text = "\n\n".join(part for part in (_text(row, "title"), _text(row, "text")) if part)
        if text:
            documents[str(row["_id"])] = text
    queries = {str(row["_id"]): _text(row, "text") for row in _lines(folder / "queries.jsonl")}
    judged = _judgements(qrels or folder / _QRELS)
    dropped = {query: set(ids) for query, ids in (_judgements(drop) if drop else {}).items()}
    relevant: dict[str, dict[str, float]] = {}
    for query, gains in judged.items():
        kept = {
            document: gain
            for document, gain in gains.items()
            if gain > 0 and document not in dropped.get(query, ())
        }
        if kept and queries.get(query):
            relevant[query] = kept
    if not relevant:
        raise DatasetError(f"{folder}: no query has a relevant document.")
    return Collection(
        documents=documents,
        queries={query: queries[query] for query in relevant},
        relevant=relevant,
        dropped=dropped,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise DatasetError(f"{path}, line {number}: {error}.") from error
        if "_id" not in row:
            raise DatasetError(f"{path}, line {number}: there is no '_id'.")
        found.append(row)
    return found


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    return value.strip() if isinstance(value, str) else ""


def _judgements(path: Path) -> dict[str, dict[str, float]]:
    """Of a table `query-id, corpus-id, score`, with tabs between; the head may be missing."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(_read(path).splitlines(), 1):
        fields = line.split("\t")
        if not line.strip() or (number == 1 and fields[0] == "query-id"):
            continue
        try:
            query, document, score = fields
            found[query][document] = float(score)
        except ValueError:
            raise DatasetError(
                f"{path}, line {number}: expected query-id, corpus-id, score with tabs between."
            ) from None
    return dict(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 (byte {error.start}).") from error
