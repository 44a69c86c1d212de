"""`jurat evaluate run`: ask a model or an ensemble every question of a file, and score it."""

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import openai
from rich.table import Table as Sheet

from clients.api import ClientError, add_gateway_options, connect, explain
from clients.evaluation.endpoint import until_ready
from clients.evaluation.experiment import ROOT, experiment_folder
from clients.evaluation.lanes import models_of, run_all
from clients.evaluation.options import parser_of, print_json
from clients.evaluation.progress import progress
from clients.evaluation.runner import Job, read_questions, run
from clients.evaluation.settings import (
    EXPERIMENTS,
    ExperimentSettings,
    Overrides,
    read_settings,
)
from clients.private_gateway import reachable_gateway
from clients.show import console

__all__ = ["main"]

LIMIT_S = 1800.0
MAX_RETRIES = 20
READY_S = 600.0  # for a gateway that loads models or fills stores
SILENT = ("embedding", "rerank")


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Raises ClientError."""
    options = _parser().parse_args(argv)
    if options.all:
        return _all(options)
    if options.smoke is not None:
        return _smoke(options)
    summary, folder = _one(options, _settings(options))
    if options.json:
        print_json(summary)
    else:
        _show(summary, folder)
    return 1 if summary["errors"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("run", "Ask every question of a file; an interrupted run goes on.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="an experiment's TOML file")
    parser.add_argument("--model", metavar="ID", help="a model, an ensemble, or with --all a glob")
    parser.add_argument("--questions", type=Path, metavar="FILE", help="CSV or JSON lines")
    parser.add_argument("--name", help="of the experiment (default: the file's or the model's)")
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="questions at once (default: 3)"
    )
    parser.add_argument(
        "--retries", type=int, metavar="N", help="of a question that fails (default: 2)"
    )
    parser.add_argument("--members", help="an ensemble's members, separated by commas")
    parser.add_argument("--strategy", help="the ensemble's strategy")
    parser.add_argument("--store", metavar="ID", help="vector stores, separated by commas")
    parser.add_argument("--top-k", type=int, metavar="N", help="passages to look up")
    parser.add_argument("--fresh", action="store_true", help="throw away an earlier run")
    parser.add_argument(
        "--allow-errors", action="store_true", help="count questions that failed as blank"
    )
    parser.add_argument("--output", type=Path, default=ROOT, metavar="DIR", help=f"default: {ROOT}")
    parser.add_argument(
        "--smoke",
        nargs="*",
        metavar="ID",
        help="one question to each of these models (none: all that answer)",
    )
    parser.add_argument("--all", action="store_true", help=f"every file in {EXPERIMENTS}")
    parser.add_argument(
        "--configs", type=Path, default=EXPERIMENTS, metavar="DIR", help="for --all"
    )
    parser.add_argument("--provider", choices=("local", "upstream"), help="with --all: only these")
    parser.add_argument(
        "--one-gateway",
        action="store_true",
        help="with --all: not a private gateway for each of several GPUs, but one that has all",
    )
    parser.add_argument(
        "--limit", type=float, default=LIMIT_S, metavar="S", help=f"--all: for one ({LIMIT_S:g} s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_gateway_options(parser)
    return parser


def _settings(options: argparse.Namespace) -> ExperimentSettings:
    """The file's settings with the options' own. Raises ClientError."""
    if options.config is None and options.model is None:
        raise ClientError("Give --config, or --model with --questions.")
    if options.config is not None:
        settings = read_settings(options.config)
    else:
        settings = ExperimentSettings(model=options.model)
    changes: dict[str, Any] = {}
    if options.model is not None:
        changes["model"] = options.model
    if options.questions is not None:
        changes["questions"] = str(options.questions.resolve())
    if options.concurrency is not None:
        if not 1 <= options.concurrency <= 1024:
            raise ClientError("--concurrency must be between 1 and 1024.")
        changes["concurrency"] = options.concurrency
    if options.retries is not None:
        if not 0 <= options.retries <= MAX_RETRIES:
            raise ClientError(f"--retries must be between 0 and {MAX_RETRIES}.")
        changes["retries"] = options.retries
    given = _overrides(options)
    if given:
        changes["ensemble"] = msgspec.structs.replace(settings.ensemble or Overrides(), **given)
    settings = msgspec.structs.replace(settings, **changes)
    if not settings.questions:
        raise ClientError("No questions: give --questions, or `questions` in the file.")
    return settings


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the options change of an ensemble."""
    given: dict[str, Any] = {}
    for name, value in (("members", options.members), ("vector_store_ids", options.store)):
        if value:
            given[name] = [one.strip() for one in value.split(",") if one.strip()]
    if options.strategy:
        given["strategy"] = options.strategy
    if options.top_k is not None:
        given["top_k"] = options.top_k
    return given


def _one(options: argparse.Namespace, settings: ExperimentSettings) -> tuple[dict[str, Any], Path]:
    own = options.config.stem if options.config else settings.model
    name = options.name or re.sub(r"[^\w.-]+", "-", own).strip("-.")
    folder = experiment_folder(name, options.output)
    questions = read_questions(Path(settings.questions))
    with (
        reachable_gateway(options.url or settings.url) as url,
        progress(name, len(questions)) as advance,
    ):
        job = Job(
            name=name,
            settings=settings,
            questions=questions,
            folder=folder,
            url=url,
            api_key=options.api_key,
        )
        summary = run(job, advance, fresh=options.fresh, allow_errors=options.allow_errors)
    return summary, folder


def _smoke(options: argparse.Namespace) -> int:
    """One question to each model: does it answer at all?"""
    question = "What is 2 + 2?"
    if options.questions is not None:
        question = read_questions(options.questions).column("question")[0]
    with (
        reachable_gateway(options.url) as url,
        connect(url, options.api_key) as client,
    ):
        until_ready(url, READY_S)
        kinds = dict.fromkeys(options.smoke, "chat") or models_of(client, url, "kind", "chat")
        results = {
            model: _try(client, url, model, question)
            if kind not in SILENT
            else {"passed": None, "why": f"it does not answer: its kind is {kind}"}
            for model, kind in kinds.items()
        }
    if options.json:
        print_json({"models": results})
    else:
        _show_results(results)
    return 1 if any(result["passed"] is False for result in results.values()) else 0


def _try(client: openai.OpenAI, url: str, model: str, question: str) -> dict[str, Any]:
    begun = time.perf_counter()
    why = ""
    try:
        completion = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], max_tokens=64
        )
        said = completion.choices[0].message if completion.choices else None
        # A model that thinks first may not have come to its answer yet.
        if said is None or not (said.content or (said.model_extra or {}).get("reasoning_content")):
            why = "the answer is empty"
    except openai.OpenAIError as error:
        why = explain(error, url)
    return {"passed": not why, "why": why, "seconds": round(time.perf_counter() - begun, 3)}


def _all(options: argparse.Namespace) -> int:
    with progress("experiments", None) as advance:
        results = run_all(options, lambda: advance(1))
    if options.json:
        print_json({"experiments": results})
    else:
        _show_results(results)
    return 1 if any(result["passed"] is False for result in results.values()) else 0


def _show(summary: dict[str, Any], folder: Path) -> None:
    out = console()
    sheet = Sheet("", "", title=f"{summary['name']}: {summary['model']}")
    for name in ("questions", "errors", "blank"):
        sheet.add_row(name, str(summary[name]))
    score: dict[str, Any] = summary["score"] or {}
    for name, value in score.items():
        if isinstance(value, float):
            sheet.add_row(name.replace("_", " "), f"{value:.3f}")
    times = {"latency": summary["latency_ms"]} | {
        name.removesuffix("_ms"): spread for name, spread in summary["timings_ms"].items()
    }
    for name, spread in times.items():
        if spread is not None:
            sheet.add_row(f"{name}, ms", f"p50 {spread['p50']:.0f}, p95 {spread['p95']:.0f}")
    for name, amount, form in _amounts(summary):
        if amount is not None:
            sheet.add_row(name, format(amount, form))
    out.print(sheet)
    if summary["errors"] and not summary["score"]:
        out.print(
            "The run is not whole, so it has no submission and no score. The same command asks "
            "what failed again; --allow-errors counts it as blank."
        )
    out.print(f"Written to {folder}.")


def _amounts(summary: dict[str, Any]) -> Iterator[tuple[str, float | None, str]]:
    """What the run took: of what, how much (None: not known), and how to write it."""
    for name in ("prompt_tokens", "completion_tokens"):
        yield name.replace("_", " "), summary[name], "d"
    memory = summary["memory_bytes"]
    for name, size in {
        "gateway": memory["gateway"],
        **memory["models"],
        "GPUs": memory["gpus"],
    }.items():
        yield f"memory of {name}, MiB", None if size is None else size / 2**20, ".0f"
    yield "energy of the GPUs, Wh", summary["energy_wh"], ".3f"
    yield "cost, US dollars", summary["cost"], ".4f"


def _show_results(results: dict[str, dict[str, Any]]) -> None:
    words = {True: "pass", False: "FAIL", None: "skipped"}
    sheet = Sheet("", "", "s", "why")
    for name, result in results.items():
        sheet.add_row(name, words[result["passed"]], str(result.get("seconds", "")), result["why"])
    out = console()
    out.print(sheet)
    count = [sum(r["passed"] is kind for r in results.values()) for kind in (True, False, None)]
    out.print(f"{count[0]} passed, {count[1]} failed, {count[2]} skipped.")
