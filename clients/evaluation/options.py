"""Options that several subcommands share: how to score, where runs lie, what to print."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from clients.api import ClientError
from clients.evaluation.dataset import Table, read_head, read_table
from clients.evaluation.scoring import ROUNDS, Columns, Rules, Weights

__all__ = [
    "add_rules",
    "parser_of",
    "print_json",
    "read_submission",
    "read_truth",
    "rules_of",
    "warn",
]


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """A subcommand's parser."""
    return argparse.ArgumentParser(prog=f"jurat evaluate {name}", description=description)


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to score."""
    group = parser.add_argument_group("scoring")
    group.add_argument(
        "--metric",
        choices=("wattbot", "squad", "retrieval"),
        help="WattBot's value, reference and NA recall, SQuAD's F1 and exact match, or nDCG, "
        "recall and MRR of the references in their order (default: SQuAD's where the truth has a "
        "list of answers, else WattBot's)",
    )
    group.add_argument(
        "--weights",
        metavar="PART=N,…",
        default="",
        help="of value, reference and na (default: value=0.75,reference=0.15,na=0.1)",
    )
    group.add_argument(
        "--columns",
        metavar="PART=NAME,…",
        default="",
        help="names of the columns: id, value, reference, answers (a list, for SQuAD)",
    )
    group.add_argument(
        "--evidence",
        metavar="NAME,…",
        help="columns of the truth, 0 or 1, to break scores down by "
        "(default: Quote,Table,Figure,Math,is_NA, those that are there)",
    )
    group.add_argument(
        "--partial",
        action="store_true",
        help="score the questions that are in both files, where one lacks some",
    )
    group.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"of the bootstrap (default: {ROUNDS}; 0: none)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def rules_of(options: argparse.Namespace, truth: Path) -> Rules:
    """The rules that the options say, and else the columns of the truth. Raises ClientError."""
    if options.rounds < 0 or options.rounds > 10**6:
        raise ClientError("--rounds must be between 0 and 1000000.")
    weights: dict[str, float] = {}
    for part, text in _pairs("--weights", options.weights).items():
        try:
            weights[part] = float(text)
        except ValueError as error:
            raise ClientError(f"--weights: '{text}' is no number.") from error
        if not 0 <= weights[part] < float("inf"):
            raise ClientError(f"--weights: '{text}' is not a weight of 0 or more.")
    rules: dict[str, Any] = {}
    if options.evidence is not None:
        rules["evidence"] = tuple(n.strip() for n in options.evidence.split(",") if n.strip())
    try:
        rules["weights"] = msgspec.convert(weights, Weights)
        columns = msgspec.convert(_pairs("--columns", options.columns), Columns)
    except msgspec.ValidationError as error:
        raise ClientError(f"--weights or --columns: {error}.") from error
    metric = options.metric or ("squad" if columns.answers in read_head(truth) else "wattbot")
    return Rules(metric=metric, columns=columns, **rules)


def read_truth(path: Path, rules: Rules, also: tuple[str, ...] = ()) -> Table:
    """The columns of the truth that scoring needs. Raises DatasetError."""
    columns = rules.columns
    if rules.metric == "squad":
        answers = (columns.answers, columns.value)
        return read_table(path, [columns.id], [*answers, *rules.evidence, *also])
    needed = [columns.id, columns.value, columns.reference]
    if rules.metric == "retrieval":
        needed.remove(columns.value)
    return read_table(path, needed, [columns.value, *rules.evidence, *also])


def read_submission(path: Path, rules: Rules, also: tuple[str, ...] = ()) -> Table:
    """The columns of a run that scoring needs. Raises DatasetError."""
    columns = rules.columns
    needed = [columns.id, columns.value]
    if rules.metric == "wattbot":
        needed.append(columns.reference)
    elif rules.metric == "retrieval":
        needed = [columns.id, columns.reference]
    return read_table(path, needed, [columns.value, *also])


def print_json(found: object) -> None:
    """One JSON object on standard output."""
    text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
    sys.stdout.write(f"{text}\n")


def warn(*tables: Table, notes: Sequence[str] = ()) -> list[str]:
    """Say on standard error what was guessed in reading, and what else; returns it."""
    guessed = [note for table in tables for note in table.warnings]
    notes = list(dict.fromkeys([*guessed, *notes]))
    for note in notes:
        sys.stderr.write(f"jurat evaluate: {note}\n")
    return notes


def _pairs(option: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise ClientError(f"{option}: '{part}' is not like NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found
