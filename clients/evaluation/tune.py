"""`jurat evaluate tune`: settings of an ensemble that do better on labelled questions."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from clients.api import ClientError, add_gateway_options
from clients.evaluation.labelled import Labelled
from clients.evaluation.material import VOTING, Material, from_asked, from_recorded
from clients.evaluation.options import add_rules, parser_of, print_json
from clients.evaluation.scoring import Rules, figures
from clients.evaluation.tune_report import report, show, verdict
from clients.evaluation.tuned_file import path_of, read_configuration, settings_of, write
from clients.evaluation.tuning import Learnt, Trial, Tuner
from gateway.ensemble.settings import EnsembleSettings

__all__ = ["evaluate", "main"]

ROOT = Path("artifacts/tune")
ENSEMBLE = "rag-ensemble"


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    options = _parser().parse_args(argv)
    configuration = read_configuration(options.config)
    base = settings_of(configuration, options.ensemble)
    path = path_of(configuration, options.name or f"{base.id}-tuned", force=options.force)
    recorded = options.recorded or options.experiments
    material = from_recorded(options, base) if recorded else from_asked(options, base)
    found, changes = evaluate(material, options)
    if changes:
        notes = [
            f"{base.id} as {len(material.truth)} questions of {options.questions.name} taught it",
            f"by `jurat evaluate tune`. {verdict(found)}",
        ]
        write(configuration, base, path, material.must | changes, notes)
        found["file"] = str(path)
    if options.json:
        print_json(found)
    else:
        show(found)
    return 0


def evaluate(
    material: Material, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, object]]:
    """The report, and the settings that are worth writing. Raises ClientError."""
    ensemble, rules = material.ensemble, material.rules
    labelled = Labelled(
        material.truth,
        rules,
        material.cases,
        ensemble.strategy,
        ensemble.references,
        ensemble.missing_names,
        ensemble.missing_kind,
    )
    if not 2 <= options.folds <= len(labelled):
        raise ClientError(f"--folds must be between 2 and {len(labelled)}, the questions.")
    tuner = Tuner(
        labelled,
        base=_as_it_is(material),
        shipped=Learnt(
            weights=tuple(member.weight for member in ensemble.members),
            calibration=ensemble.calibration,
        ),
        objective=_objective(options.objective, rules, labelled.declined),
        floors=material.asked,
    )
    held = tuner.hold_out(options.folds, options.rounds, options.seed)
    every = np.arange(len(labelled))
    trial = tuner.search(every, options.seed)
    learnt = tuner.learn(trial, every)
    coefficients = tuner.calibrate(trial, learnt.weights, every)
    changes: dict[str, object] = {}
    if held.gain.beats or options.anyway:
        changes |= _changes(ensemble, tuner.base, trial, learnt)
    truer = held.brier is not None and (held.brier.beats or options.anyway)
    # A floor that was set by other coefficients would mean something else by these.
    if (
        material.asked
        and truer
        and not changes.get("confidence_floor", tuner.base.confidence_floor)
    ):
        changes["calibration"] = coefficients
    found = report(tuner, held, trial, learnt, ensemble)
    found |= {"calibration": coefficients, "written": sorted(changes), "file": None}
    if material.asked:
        found["worked_out"] = labelled.worked_out(tuner.base.top_k, tuner.shipped.weights)
    return found, changes


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "tune", "Learn an ensemble's weights, floors and calibration from labelled questions."
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="with answers, CSV or JSON"
    )
    parser.add_argument(
        "--ensemble", default=ENSEMBLE, metavar="ID", help=f"to start from (default: {ENSEMBLE})"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--recorded", type=Path, metavar="DIR", help="a CSV file for each member")
    group.add_argument(
        "--experiments", nargs="+", metavar="NAME", help="recorded runs, one for each member"
    )
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="recorded runs' documents as ID.txt"
    )
    parser.add_argument(
        "--strategy", choices=VOTING, help="of recorded votes (default: the ensemble's)"
    )
    parser.add_argument(
        "--top-k", default="", metavar="N,…", help="numbers of passages to ask with (default: its)"
    )
    parser.add_argument("--store", metavar="ID", help="vector stores, separated by commas")
    parser.add_argument("--concurrency", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--fresh", action="store_true", help="throw away earlier answers")
    parser.add_argument(
        "--objective", default="overall", metavar="FIGURE", help="to raise (default: overall)"
    )
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--name", help="of the new ensemble (default: the old one's and -tuned)")
    parser.add_argument("--force", action="store_true", help="replace a file of that name")
    parser.add_argument(
        "--write-anyway", dest="anyway", action="store_true", help="also where no gain is shown"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="gateway.toml (default: as `jurat serve`)"
    )
    parser.add_argument("--output", type=Path, default=ROOT, metavar="DIR", help=f"default: {ROOT}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_rules(parser)
    add_gateway_options(parser)
    return parser


def _as_it_is(material: Material) -> Trial:
    ensemble = material.ensemble
    if not material.asked:
        return Trial(top_k=ensemble.top_k)
    return Trial(
        top_k=ensemble.top_k,
        score_floor=ensemble.score_floor,
        evidence_floor=ensemble.evidence_floor,
        confidence_floor=ensemble.confidence_floor,
    )


def _objective(name: str, rules: Rules, parts: NDArray[np.float64]) -> str:
    known = figures(rules, parts.mean(axis=0))
    if name not in known:
        raise ClientError(f"--objective: no figure '{name}'; there are {', '.join(known)}.")
    return name


def _changes(
    ensemble: EnsembleSettings, base: Trial, trial: Trial, learnt: Learnt
) -> dict[str, object]:
    """The settings of an ensemble's file that differ."""
    found: dict[str, object] = {
        name: getattr(trial, name)
        for name in ("top_k", "score_floor", "evidence_floor", "confidence_floor")
        if getattr(trial, name) != getattr(base, name)
    }
    if trial.pull:
        found["members"] = tuple(
            msgspec.structs.replace(member, weight=weight)
            for member, weight in zip(ensemble.members, learnt.weights, strict=True)
        )
    if trial.fitted:
        found["calibration"] = learnt.calibration
    return found
