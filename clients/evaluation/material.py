"""What is tuned, and on what: an ensemble that is asked, or recorded runs as its members."""

import argparse
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.evaluation.cases import Case, ask_all, recorded_cases
from clients.evaluation.dataset import Table, aligned
from clients.evaluation.experiment import (
    SUMMARY,
    Experiment,
    experiment_folder,
    find_experiments,
)
from clients.evaluation.options import read_submission, read_truth, rules_of, warn
from clients.evaluation.progress import progress
from clients.evaluation.replay import ALSO, Corpus, read_recording
from clients.evaluation.runner import Job, read_questions
from clients.evaluation.scoring import Columns, Rules
from clients.evaluation.settings import ExperimentSettings, Overrides
from clients.private_gateway import reachable_gateway
from gateway.ensemble.settings import EnsembleSettings, Member, labels
from gateway.ensemble.vote import Strategy

__all__ = ["VOTING", "Material", "from_asked", "from_recorded"]

VOTING = (*get_args(Strategy), "confidence")  # strategies that need nothing but what is recorded
MAX_TOP_K = 50
MAX_CONCURRENCY = 1024


class Material(Struct, frozen=True, kw_only=True):
    """What is tuned, and on what. `must` are settings that a file of it has in any case."""

    truth: Table
    rules: Rules
    cases: dict[int, list[Case]]
    ensemble: EnsembleSettings
    asked: bool  # the ensemble itself answered; else votes are recorded, without passages
    must: dict[str, object] = {}


def from_asked(options: argparse.Namespace, base: EnsembleSettings) -> Material:
    """Ask the ensemble, once for each number of passages."""
    if base.strategy not in VOTING:
        raise ClientError(
            f"'{base.id}' has the strategy '{base.strategy}', whose outcome cannot be worked out "
            f"from votes. Those that can: {', '.join(VOTING)}."
        )
    for option in ("corpus", "strategy"):
        if getattr(options, option) is not None:
            raise ClientError(f"--{option} is for recorded runs.")
    questions = read_questions(options.questions)
    rules = rules_of(options, options.questions)
    if rules.columns != Columns():
        raise ClientError("--columns is for recorded runs; a run's own columns have fixed names.")
    if not 1 <= options.concurrency <= MAX_CONCURRENCY:
        raise ClientError(f"--concurrency must be between 1 and {MAX_CONCURRENCY}.")
    for name in _needed(questions, rules):
        questions.column(name)  # before anything is asked: it raises where there is none
    stores = [one.strip() for one in (options.store or "").split(",") if one.strip()]
    settings = ExperimentSettings(
        model=base.id,
        concurrency=options.concurrency,
        ensemble=Overrides(vector_store_ids=stores),
    )
    cases: dict[int, list[Case]] = {}
    with reachable_gateway(options.url) as url:
        for top_k in _top_ks(options.top_k, base.top_k):
            name = f"{base.id}-{options.questions.stem}-top_k-{top_k}"
            job = Job(
                name=name,
                settings=settings,
                questions=questions,
                folder=experiment_folder(name, options.output),
                url=url,
                api_key=options.api_key,
            )
            with progress(f"top_k {top_k}", len(questions)) as advance:
                cases[top_k] = ask_all(job, top_k, advance, fresh=options.fresh)
    _check_members(base, cases)
    return Material(truth=questions, rules=rules, cases=cases, ensemble=base, asked=True)


def from_recorded(options: argparse.Namespace, base: EnsembleSettings) -> Material:
    """Recorded runs as members of an ensemble that is otherwise like `base`."""
    if options.top_k or options.store:
        raise ClientError("--top-k and --store are for an ensemble that is asked.")
    strategy = options.strategy or base.strategy
    if strategy not in get_args(Strategy):
        raise ClientError(f"Recorded runs cannot be voted on by '{strategy}'; give --strategy.")
    if strategy == "grounded" and options.corpus is None:
        raise ClientError("--strategy grounded needs --corpus, the texts of the documents.")
    if options.experiments:
        runs = find_experiments(options.experiments, options.output)
    else:
        files = sorted(options.recorded.glob("*.csv"))
        runs = [Experiment(name=path.stem, submission=path) for path in files]
    if len(runs) < 2:
        raise ClientError("An ensemble needs two recorded runs or more.")
    rules = rules_of(options, options.questions)
    truth = read_truth(options.questions, rules, ("question",))
    tables = [read_submission(run.submission, rules, ALSO) for run in runs]
    warn(truth, *tables)
    truth, tables = aligned(truth, tables, rules.columns.id, partial=options.partial)
    corpus = Corpus(options.corpus) if options.corpus else None
    named = [(run.name, table) for run, table in zip(runs, tables, strict=True)]
    members = _members(base, runs)
    return Material(
        truth=truth,
        rules=rules,
        cases={base.top_k: recorded_cases(read_recording(named, rules, corpus))},
        ensemble=msgspec.structs.replace(base, members=members, strategy=strategy, quorum=1),
        asked=False,
        must={"members": members, "strategy": strategy},
    )


def _members(base: EnsembleSettings, runs: Sequence[Experiment]) -> tuple[Member, ...]:
    """The base's members of the runs' names; a run of another name is its model's."""
    known = dict(zip(labels(base.members), base.members, strict=True))
    found: list[Member] = []
    for run in runs:
        model = run.name
        if run.folder is not None and (run.folder / SUMMARY).is_file():
            summary = msgspec.json.decode((run.folder / SUMMARY).read_bytes(), type=dict[str, Any])
            model = str(summary.get("model", model))
        found.append(known.get(run.name) or Member(model=model, name=run.name))
    return tuple(found)


def _needed(questions: Table, rules: Rules) -> list[str]:
    """The columns that scoring needs of the questions."""
    columns = rules.columns
    if rules.metric == "wattbot":
        return [columns.value, columns.reference]
    return [columns.answers if columns.answers in questions.columns else columns.value]


def _top_ks(text: str, own: int) -> list[int]:
    try:
        given = {int(one) for one in text.split(",") if one.strip()}
    except ValueError as error:
        raise ClientError(f"--top-k: '{text}' is not numbers, separated by commas.") from error
    if any(not 1 <= one <= MAX_TOP_K for one in given):
        raise ClientError(f"--top-k must be between 1 and {MAX_TOP_K}.")
    return sorted({own, *given})


def _check_members(base: EnsembleSettings, cases: dict[int, list[Case]]) -> None:
    """A gateway with another configuration than the file would be tuned by the wrong weights."""
    wanted = labels(base.members)
    for case in (one for each in cases.values() for one in each):
        if case.votes and tuple(vote.model for vote in case.votes) != wanted:
            have = ", ".join(vote.model for vote in case.votes)
            raise ClientError(
                f"The gateway's '{base.id}' has other members ({have}) than the configuration "
                f"here ({', '.join(wanted)}): --config names the one it was started with."
            )
