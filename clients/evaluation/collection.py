"""Many runs over the same questions, as matrix, audit and plots take them in."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.dataset import DatasetError, OtherQuestionsError, Table
from clients.evaluation.experiment import ROOT, Experiment, find_experiments, interrupted
from clients.evaluation.options import add_rules, read_submission, read_truth, rules_of, warn
from clients.evaluation.scoring import Grades, Rules, grade

__all__ = ["Collection", "Graded", "add_runs", "collect", "graded"]


class Collection(Struct, frozen=True, kw_only=True):
    """The truth and the runs, whose files are read one after the other."""

    truth: Table
    rules: Rules
    experiments: list[Experiment]
    partial: bool
    named: bool  # else they are all that there are, and some may be of other questions


class Graded(Struct, frozen=True, kw_only=True):
    """One run, read and scored."""

    experiment: Experiment
    submission: Table
    grades: Grades


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which runs, and how to score them."""
    parser.add_argument(
        "experiments", nargs="*", metavar="NAME", help=f"experiments (default: all in {ROOT})"
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="the truth, CSV or JSON lines"
    )
    parser.add_argument(
        "--submissions", nargs="+", metavar="FILE", help="CSV files, or folders of them, instead"
    )
    parser.add_argument(
        "--experiments-dir", type=Path, default=ROOT, metavar="DIR", help=f"default: {ROOT}"
    )
    add_rules(parser)


def collect(options: argparse.Namespace) -> Collection:
    """What the options name. Raises ClientError."""
    rules = rules_of(options, options.questions)
    names: list[str] = list(options.experiments)
    submissions: list[str] = options.submissions or []
    for name in submissions:
        path = Path(name)
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise ClientError(f"--submissions: there are no CSV files in {path}.")
        names += map(str, files)
    if not names and (halves := interrupted(options.experiments_dir)):
        warn(notes=[f"left out, for they were interrupted: {', '.join(halves)}."])
    experiments = find_experiments(names, options.experiments_dir)
    truth = read_truth(options.questions, rules, ("question",))
    return Collection(
        truth=truth,
        rules=rules,
        experiments=experiments,
        partial=options.partial,
        named=bool(names),
    )


def graded(
    collection: Collection, also: Sequence[str] = (), skip: dict[str, str] | None = None
) -> Iterator[Graded]:
    """Each run, scored, one in memory at a time. Raises DatasetError.

    Runs of other questions are left out where they were not named. With `skip`, a run that cannot
    be scored is left out, and the reason put there under its name.
    """
    others: list[str] = []
    for experiment in collection.experiments:
        try:
            table = read_submission(experiment.submission, collection.rules, tuple(also))
            grades = grade(collection.truth, table, collection.rules, partial=collection.partial)
        except DatasetError as error:
            if isinstance(error, OtherQuestionsError) and not collection.named:
                others.append(experiment.name)
                continue
            if skip is None:
                raise
            skip[experiment.name] = str(error)
            continue
        if skip is None:
            warn(table)
        yield Graded(experiment=experiment, submission=table, grades=grades)
    if others:
        warn(notes=[f"left out, for they are of other questions: {', '.join(others)}."])
    if len(others) == len(collection.experiments):
        raise DatasetError(f"No experiment is of the questions of {collection.truth.path}.")
