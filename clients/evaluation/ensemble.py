"""`jurat evaluate ensemble`: votes over recorded runs, and whether they were worth it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.table import Table as Sheet

from clients.api import ClientError
from clients.evaluation.bootstrap import Difference
from clients.evaluation.comparison import FOLDS, Comparison, Standing, compare, folds_of
from clients.evaluation.dataset import Table, aligned
from clients.evaluation.experiment import (
    ROOT,
    Experiment,
    Record,
    experiment_folder,
    find_experiments,
    write_run,
)
from clients.evaluation.options import (
    add_rules,
    parser_of,
    print_json,
    read_submission,
    read_truth,
    rules_of,
    warn,
)
from clients.evaluation.replay import (
    ALSO,
    BLANK,
    DEFAULT,
    DEFAULT_GROUNDED,
    NOT_APPLICABLE,
    STRATEGIES,
    Answer,
    Corpus,
    Recording,
    decide,
    read_recording,
    weights_of,
)
from clients.evaluation.scoring import Grades, Rules, grade, report
from clients.evaluation.wattbot import is_blank
from clients.show import console
from gateway.ensemble.vote import References, Strategy

__all__ = ["main"]

LABELLED = "weighted by labels"  # learnt on the other folds; everything else sees no label
MIN_WEIGHT = 0.05


class Replay(Struct, frozen=True, kw_only=True):
    """All that one call works on; the tables have the same questions in the same order."""

    options: argparse.Namespace
    rules: Rules
    truth: Table
    recording: Recording
    members: dict[str, Grades]


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    options = _parser().parse_args(argv)
    if why := NOT_APPLICABLE.get(options.strategy):
        raise ClientError(
            f"--strategy {options.strategy}: not applicable to recorded answers, {why}; "
            f"applicable are {', '.join(STRATEGIES)}."
        )
    rules = rules_of(options, options.questions)
    if options.strategy is None:
        options.strategy = DEFAULT_GROUNDED if options.corpus else DEFAULT
    if options.strategy == "grounded" and options.corpus is None:
        raise ClientError("--strategy grounded needs --corpus, the texts of the documents.")
    truth = read_truth(options.questions, rules, ("question",))
    runs = _runs(options)
    tables = [read_submission(run.submission, rules, ALSO) for run in runs]
    warn(truth, *tables)
    given = len(truth)
    truth, tables = aligned(truth, tables, rules.columns.id, partial=options.partial)
    named = list(zip([run.name for run in runs], tables, strict=True))
    corpus = Corpus(options.corpus) if options.corpus else None
    replay = Replay(
        options=options,
        rules=rules,
        truth=truth,
        recording=read_recording(named, rules, corpus),
        members={name: grade(truth, table, rules) for name, table in named},
    )
    found, answers = evaluate(replay)
    found["left_out"] = given - len(truth)
    if options.name:
        folder = experiment_folder(options.name, options.output)
        write_run(folder, records_of(replay, answers), summary=found)
        found["folder"] = str(folder)
    if options.json:
        print_json(found)
    else:
        show(found)
    return 0


def evaluate(replay: Replay) -> tuple[dict[str, Any], list[Answer]]:
    """The report, and the answers of the chosen strategy."""
    options, rules = replay.options, replay.rules
    chosen: Strategy = options.strategy
    runs: dict[str, list[Answer]] = {}
    not_applicable = dict(NOT_APPLICABLE)
    for strategy in STRATEGIES:
        if strategy == "grounded" and not options.corpus:
            not_applicable[strategy] = "it needs --corpus"
            continue
        runs[strategy] = _vote(replay, strategy, options.references)
    grades = {name: grade(replay.truth, _table(replay, ans), rules) for name, ans in runs.items()}
    parts = {name: one.parts for name, one in grades.items()}
    parts[LABELLED] = _labelled(replay)
    if options.ablation:
        parts |= _ablation(replay)
    picked = _picked(replay)
    compared = compare(
        rules, replay.members, parts, picked, rounds=options.rounds, seed=options.seed
    )
    found = report(grades[chosen], options.rounds, options.seed)
    standings = compared.standings
    found |= {
        "strategy": chosen,
        "references": options.references,
        "weights": dict(
            zip(replay.recording.names, weights_of(replay.recording, chosen), strict=True)
        ),
        "best_member": {"model": compared.best, **_plain(standings[compared.best], rival=False)},
        "versus_best_member": _verdict(standings[chosen].best_member),
        "versus_beforehand": _verdict(standings[chosen].beforehand),
        "members": _members(replay, compared),
        "beforehand": _plain(standings["beforehand"]),
        "random_member": _plain(standings["random member"]),
        "oracle": _plain(standings["oracle"]),
        "strategies": {name: _plain(standings[name]) for name in parts},
        "not_applicable": not_applicable,
    }
    return found, runs[chosen]


def records_of(replay: Replay, answers: Sequence[Answer]) -> list[Record]:
    """The answers as records, each with what its winner said."""
    ids = replay.truth.column(replay.rules.columns.id)
    questions = replay.truth.columns.get("question") or [""] * len(ids)
    names, tables = replay.recording.names, replay.recording.tables
    found: list[Record] = []
    for at, answer in enumerate(answers):
        said = tables[answer.winner].columns if answer.winner >= 0 else {}
        texts = {name: said[name][at] if name in said else "" for name in ALSO}
        votes = [
            {"model": name, "answer_value": ballot.value, "is_blank": ballot.is_blank}
            for name, ballot in zip(names, replay.recording.ballots[at], strict=True)
        ]
        found.append(
            Record(
                id=ids[at].strip(),
                question=questions[at],
                model=f"ensemble:{replay.options.strategy}",
                answer=texts["answer"],
                answer_value=answer.value,
                answer_unit=texts["answer_unit"],
                is_blank=answer.value == BLANK,
                ref_id=answer.references,
                ref_url=_addresses(texts["ref_url"]),
                supporting_materials=texts["supporting_materials"],
                explanation=texts["explanation"] or answer.explanation,
                ensemble={
                    "strategy": replay.options.strategy,
                    "agreement": answer.agreement,
                    "explanation": answer.explanation,
                    "votes": votes,
                },
            )
        )
    return found


def _addresses(text: str) -> list[str]:
    """The addresses in a list, or the one that stands there."""
    if is_blank(text):
        return []
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return [text.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("ensemble", "Vote over recorded answers with the gateway's own vote.")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--recorded", type=Path, metavar="DIR", help="a CSV file for each member")
    group.add_argument(
        "--experiments", nargs="+", metavar="NAME", help="experiments, folders or CSV files"
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="the truth, CSV or JSON lines"
    )
    parser.add_argument(
        "--strategy",
        choices=(*STRATEGIES, *NOT_APPLICABLE),
        help=f"default: {DEFAULT}; {DEFAULT_GROUNDED} with --corpus",
    )
    parser.add_argument(
        "--references",
        choices=get_args(References),
        default="winners",
        help="whose references count (default: what half of the winners cite)",
    )
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="documents as ID.txt, for grounding"
    )
    parser.add_argument(
        "--train", type=Path, metavar="FILE", help="other questions' truth, and ..."
    )
    parser.add_argument(
        "--train-recorded",
        type=Path,
        metavar="DIR",
        help="the members' answers to them, to pick the best member beforehand",
    )
    parser.add_argument("--ablation", action="store_true", help="also every ingredient alone")
    parser.add_argument("--name", help="write an experiment of this name")
    parser.add_argument("--output", type=Path, default=ROOT, metavar="DIR", help=f"default: {ROOT}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_rules(parser)
    return parser


def _runs(options: argparse.Namespace) -> list[Experiment]:
    if options.experiments:
        runs = find_experiments(options.experiments, options.output)
    else:
        runs = _recorded("--recorded", options.recorded)
    if len(runs) < 2:
        raise ClientError("An ensemble needs two members or more.")
    return runs


def _recorded(option: str, folder: Path) -> list[Experiment]:
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not files:
        raise ClientError(f"{option}: there are no CSV files in {folder}.")
    return [Experiment(name=path.stem, submission=path) for path in files]


def _vote(
    replay: Replay,
    strategy: Strategy,
    references: References,
    weights: Sequence[float] | None = None,
) -> list[Answer]:
    mine = weights_of(replay.recording, strategy, weights)
    everywhere = [mine] * len(replay.recording.ballots)
    return decide(replay.recording, strategy, everywhere, references)


def _table(replay: Replay, answers: Sequence[Answer]) -> Table:
    columns = replay.rules.columns
    return Table(
        path=Path("the vote"),
        header=(columns.id, columns.value, columns.reference),
        columns={
            columns.id: replay.truth.column(columns.id),
            columns.value: [answer.value for answer in answers],
            columns.reference: [
                msgspec.json.encode(answer.references).decode() if answer.references else BLANK
                for answer in answers
            ],
        },
        lines=replay.truth.lines,
    )


def _labelled(replay: Replay) -> NDArray[np.float64]:
    """Parts of a vote whose weights are the members' shares of right answers on other folds."""
    right = np.stack([grades.right for grades in replay.members.values()])
    weights = np.ones((right.shape[1], len(right)))
    for fold in folds_of(right.shape[1]):
        others = np.delete(right, fold, axis=1)
        share = np.clip(others.mean(axis=1) if others.size else 0.5, MIN_WEIGHT, 1 - MIN_WEIGHT)
        weights[fold] = np.maximum(np.log(share / (1 - share)), MIN_WEIGHT)
    answers = decide(replay.recording, "weighted", weights.tolist(), replay.options.references)
    return grade(replay.truth, _table(replay, answers), replay.rules).parts


def _ablation(replay: Replay) -> dict[str, NDArray[np.float64]]:
    """The default without each of its ingredients."""
    ones = [1.0] * len(replay.recording.names)
    trials: list[tuple[str, Strategy, References, Sequence[float] | None]] = [
        ("weighted, equal weights", "weighted", "winners", ones),
        ("majority, learnt weights", "majority", "winners", weights_of(replay.recording, DEFAULT)),
        ("weighted, answering one's references", "weighted", "winner", None),
        ("weighted, all winners' references", "weighted", "union", None),
        ("majority, all winners' references", "majority", "union", None),
    ]
    return {
        name: grade(
            replay.truth, _table(replay, _vote(replay, strategy, references, weights)), replay.rules
        ).parts
        for name, strategy, references, weights in trials
    }


def _picked(replay: Replay) -> NDArray[np.float64] | None:
    """Parts of the member that is best on --train; None where that is not given."""
    options, rules = replay.options, replay.rules
    if (options.train is None) != (options.train_recorded is None):
        raise ClientError("--train and --train-recorded belong together.")
    if options.train is None:
        return None
    truth = read_truth(options.train, rules)
    runs = _recorded("--train-recorded", options.train_recorded)
    scores: dict[str, float] = {}
    for run in runs:
        if run.name in replay.members:
            grades = grade(truth, read_submission(run.submission, rules), rules)
            scores[run.name] = float(report(grades, rounds=0)["overall"])  # pyright: ignore[reportArgumentType]
    missing = sorted(set(replay.members) - set(scores))
    if missing:
        raise ClientError(f"--train-recorded: there is no {missing[0]}.csv.")
    return replay.members[max(scores, key=lambda name: scores[name])].parts


def _members(replay: Replay, compared: Comparison) -> list[dict[str, Any]]:
    found = [{"model": name, **_plain(compared.standings[name])} for name in replay.members]
    return sorted(found, key=lambda one: -one["overall"])


def _verdict(found: Difference) -> dict[str, Any]:
    return {"difference": found.mean, "interval": [found.low, found.high], "verdict": found.verdict}


def _plain(standing: Standing, *, rival: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {**standing.figures, "interval": list(standing.interval)}
    if rival:
        found["versus_best_member"] = _verdict(standing.best_member)
        found["versus_beforehand"] = _verdict(standing.beforehand)
        found["folds"] = standing.folds
    return found


def show(found: dict[str, Any]) -> None:
    """The report as a table."""
    out = console()
    out.print(
        f"{found['questions']} questions; strategy {found['strategy']}; the best member is "
        f"{found['best_member']['model']}. Differences with 95 % intervals, paired."
    )
    if found["left_out"]:
        out.print(f"Partial: {found['left_out']} questions that not all have are left out.")
    names = [name for name in found["oracle"] if isinstance(found["oracle"][name], float)]
    heads = [name.replace("_", " ") for name in names[:4]]
    sheet = Sheet("", *heads, "less the best member", "", f"ahead in {FOLDS} folds")
    sheet.columns[0].overflow = "fold"
    for name, one in found["strategies"].items():
        mark = " *" if name == found["strategy"] else ""
        _row(sheet, names[:4], f"{name}{mark}", one)
    sheet.add_section()
    for one in found["members"]:
        _row(sheet, names[:4], one["model"], one)
    sheet.add_section()
    _row(sheet, names[:4], "best member, picked beforehand", found["beforehand"])
    _row(sheet, names[:4], "a random member", found["random_member"])
    _row(sheet, names[:4], "oracle", found["oracle"])
    out.print(sheet)
    for name, why in found["not_applicable"].items():
        out.print(f"{name}: not applicable, {why}.")
    if "folder" in found:
        out.print(f"Written to {found['folder']}.")


def _row(sheet: Sheet, names: Sequence[str], label: str, one: dict[str, Any]) -> None:
    rival = one["versus_best_member"]
    low, high = rival["interval"]
    gap = f"{rival['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    verdict = {"no difference shown": "", "beats": "beats", "loses": "loses"}[rival["verdict"]]
    ahead = sum(difference > 1e-9 for difference in one["folds"])
    sheet.add_row(label, *(f"{one[name]:.3f}" for name in names), gap, verdict, str(ahead))
