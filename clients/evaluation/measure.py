"""`jurat evaluate bench`: what evaluation itself costs, on answers made up for the purpose.

Processor time and memory of scoring, matrix and audit over many runs; and what the runner adds to
an endpoint that takes a known time for each answer.
"""

import asyncio
import csv
import json
import os
import queue
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as Sheet

from clients.api import ClientError
from clients.bench.machine import machine
from clients.evaluation.experiment import SUMMARY, Record, write_run
from clients.evaluation.options import parser_of, print_json
from clients.show import console

__all__ = ["main"]

ANSWER_MS = 100.0
RUNNER_QUESTIONS = 800
CONCURRENCY = 16
BLANK = "is_blank"
MESSAGE = {"role": "assistant", "content": '{"answer_value": "7", "ref_id": ["doc1"]}'}
COMPLETION = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stub",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 700, "completion_tokens": 40, "total_tokens": 740},
}).encode()  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Run the subcommand."""
    parser = parser_of("bench", "Measure what evaluation itself costs.")
    parser.add_argument("--runs", type=int, default=20, help="default: 20")
    parser.add_argument("--questions", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="jurat-evaluate-") as folder:
        root = Path(folder)
        truth = write_runs(root, options.runs, options.questions)
        found = {
            "machine": machine(),
            "runs": options.runs,
            "questions": options.questions,
            "commands": _commands(root, truth, options.runs),
            "runner": _runner(root),
        }
    if options.json:
        print_json(found)
    else:
        _show(found)
    return 0


def write_runs(root: Path, runs: int, questions: int, seed: int = 0) -> Path:
    """Experiments `run00`, … in `root`, and the truth beside them, whose path is returned."""
    random = np.random.default_rng(seed)
    right = random.integers(0, 5000, questions).tolist()
    truth = root / "truth.csv"
    with truth.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer_value", "ref_id", "Quote", "Table"])
        for at, value in enumerate(right):
            wanted = BLANK if at % 10 == 9 else value
            question = f"What does table {at} say of the thing that it is about?"
            writer.writerow([f"q{at}", question, wanted, f"['doc{at % 32}']", at % 2, 1 - at % 2])
    for run in range(runs):
        fits = random.random(questions) < 0.5 + 0.4 * run / runs
        records = [
            Record(
                id=f"q{at}",
                question=f"What does table {at} say of the thing that it is about?",
                answer=f"Run {run} reads {right[at]} in its third row.",
                answer_value=str(right[at] if fits[at] else right[at] + 1 + run),
                ref_id=[f"doc{at % 32}"],
                explanation="The passage says so in these words, more or less.",
                latency_ms=900.0 + at % 200,
                prompt_tokens=700,
                completion_tokens=40,
            )
            for at in range(questions)
        ]
        write_run(root / f"run{run:02}", records, {"model": f"model-{run + 1}b"})
    return truth


def _commands(root: Path, truth: Path, runs: int) -> dict[str, dict[str, float]]:
    """Seconds, processor seconds and the most memory of each command, in a process of its own."""
    many = ["--questions", str(truth), "--experiments-dir", str(root)]
    submissions = [str(root / f"run{run:02}" / "submission.csv") for run in range(runs)]
    return {
        "score": _cost(["score", str(truth), *submissions, "--json"]),
        "matrix": _cost(["matrix", *many, "--output", str(root / "matrix")]),
        "audit": _cost(["audit", *many, "--json"]),
    }


def _cost(arguments: Sequence[str]) -> dict[str, float]:
    begun = time.perf_counter()
    used = _run(arguments)
    seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(_mib(used), 1),
    }


def _run(arguments: Sequence[str]) -> resource.struct_rusage:
    """Run a subcommand in a process of its own; what it used. Raises ClientError."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "clients.evaluation", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ClientError(f"jurat evaluate {arguments[0]} ended with {process.returncode}.")
    return used


def _mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _runner(root: Path) -> dict[str, float]:
    """What `run` adds to an endpoint's own time.

    `added_ms`: what a question adds to the time of the whole run, beyond what the endpoint takes
    with all places busy. `longer_ms`: by how much longer a place is taken by a question; all
    answers come at the same moment here, so each waits for the others to be read. `busy`: the
    endpoint's share of that time. `cpu_ms`: the runner's processor time, its start left out.
    """
    with _endpoint() as url:
        few = _asked(root, url, CONCURRENCY)[1]
        seconds, cpu = _asked(root, url, RUNNER_QUESTIONS)
    taken_ms = seconds * 1000 * CONCURRENCY / RUNNER_QUESTIONS
    return {
        "questions": RUNNER_QUESTIONS,
        "concurrency": CONCURRENCY,
        "answer_ms": ANSWER_MS,
        "seconds": round(seconds, 2),
        "added_ms": round((taken_ms - ANSWER_MS) / CONCURRENCY, 2),
        "longer_ms": round(taken_ms - ANSWER_MS, 2),
        "busy": round(ANSWER_MS / taken_ms, 3),
        "cpu_ms": round((cpu - few) / (RUNNER_QUESTIONS - CONCURRENCY) * 1000, 2),
    }


def _asked(root: Path, url: str, questions: int) -> tuple[float, float]:
    """Seconds in which so many questions were asked, and the runner's processor seconds in all."""
    file = root / "asked.csv"
    file.write_text("id,question\n" + "".join(f"q{n},How long is {n}?\n" for n in range(questions)))
    used = _run([
        *("run", "--model", "stub", "--url", url, "--json", "--fresh", "--name", "asked"),
        *("--questions", str(file), "--output", str(root), "--concurrency", str(CONCURRENCY)),
    ])  # fmt: skip
    summary = json.loads((root / "asked" / SUMMARY).read_bytes())
    return float(summary["seconds"]), used.ru_utime + used.ru_stime


@contextmanager
def _endpoint() -> Generator[str]:
    """A server on loopback, in a thread, that answers each question after `ANSWER_MS`."""
    ready: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ready.put((port, lambda: loop.call_soon_threadsafe(over.set)))
        await over.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port, stop = ready.get()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop()
        thread.join()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection's requests: POST is a question, everything else is not known here."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
            if length:
                await reader.readexactly(int(length[1]))
            if head.startswith("POST"):
                await asyncio.sleep(ANSWER_MS / 1000)
            status, body = ("200 OK", COMPLETION) if head.startswith("POST") else ("404 No", b"{}")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


def _show(found: dict[str, Any]) -> None:
    out = console()
    sheet = Sheet(
        f"{found['runs']} runs x {found['questions']} questions", "seconds", "processor s", "MiB"
    )
    for name, cost in found["commands"].items():
        sheet.add_row(name, *(str(cost[key]) for key in ("seconds", "cpu_s", "peak_mib")))
    out.print(sheet)
    runner = found["runner"]
    out.print(
        f"run, {runner['concurrency']} at once, {runner['answer_ms']:g} ms an answer: adds "
        f"{runner['added_ms']} ms a question to the run's time and {runner['longer_ms']} ms to "
        f"each one's own; the endpoint is busy {runner['busy']:.1%}; "
        f"{runner['cpu_ms']} ms of processor time a question."
    )
