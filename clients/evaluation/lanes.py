"""`jurat evaluate run --all`: every experiment's file, each in a process of its own.

Where no gateway runs and the machine has several GPUs, each GPU gets a private gateway that sees
it alone (a lane), and experiments go to whichever is free.
"""

import argparse
import fnmatch
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
from msgspec import Struct

from clients.api import ClientError, connect, explain, gateway_url
from clients.evaluation.gpus import Gpu, list_gpus
from clients.evaluation.settings import ExperimentSettings, read_settings
from clients.private_gateway import private_gateway, running_gateway

__all__ = ["models_of", "run_all"]

TAIL_CHARS = 300
DATA = "data "  # what a line of `jurat check-config` begins with

Result = dict[str, Any]  # passed (None: skipped), why, seconds


class Lane(Struct, frozen=True, kw_only=True):
    """A gateway, and what its experiments have in their environment beside everybody's."""

    url: str
    environment: dict[str, str] = {}


class _Turns:
    """What the lanes' threads share: the experiments to be done, and what became of them."""

    def __init__(self, options: argparse.Namespace, wanted: Mapping[Path, ExperimentSettings]):
        self.options = options
        self.waiting: queue.SimpleQueue[tuple[Path, ExperimentSettings]] = queue.SimpleQueue()
        for one in wanted.items():
            self.waiting.put(one)
        self.results: dict[str, Result] = {}
        self.over = threading.Event()
        self._listed: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def provider(self, url: str, model: str) -> str | None:
        """Who runs the model, as the endpoint says; None where it has no such model."""
        with self._lock:
            if url not in self._listed:
                with connect(url, self.options.api_key) as client:
                    self._listed[url] = models_of(client, url, "provider", "local")
            return self._listed[url].get(model)


def run_all(options: argparse.Namespace, done: Callable[[], None]) -> dict[str, Result]:
    """Run every file that the options leave; `done` is called after each. Raises ClientError.

    What is left out for want of its model is named, with the reason.
    """
    files = sorted(options.configs.glob("*.toml"))
    if not files:
        raise ClientError(f"There are no experiments (*.toml) in {options.configs}.")
    broken: dict[str, Result] = {}
    wanted: dict[Path, ExperimentSettings] = {}
    for path in files:
        try:
            settings = read_settings(path)
        except ClientError as error:
            broken[path.stem] = {"passed": False, "why": str(error)}
            continue
        if fnmatch.fnmatch(settings.model, options.model or "*"):
            wanted[path] = settings
    turns = _Turns(options, wanted)
    homeless = sum(settings.url is None for settings in wanted.values())
    with _lanes(options, homeless) as lanes, ThreadPoolExecutor(len(lanes)) as threads:
        try:
            running = [threads.submit(_drive, lane, turns, done) for lane in lanes]
            for one in running:
                one.result()
        except BaseException:  # Ctrl-C has reached the experiments too; nobody starts another
            turns.over.set()
            raise
    order = [path.stem for path in files]
    results = broken | turns.results
    return {name: results[name] for name in order if name in results}


def models_of(client: openai.OpenAI, url: str, field: str, usual: str) -> dict[str, str]:
    """An endpoint's models, and what it says in a field of each; `usual` where it says nothing.

    Raises ClientError.
    """
    try:
        return {
            model.id: str((model.model_extra or {}).get(field) or usual)
            for model in client.models.list()
        }
    except openai.OpenAIError as error:
        raise ClientError(explain(error, url)) from error


def _drive(lane: Lane, turns: _Turns, done: Callable[[], None]) -> None:
    """One experiment after the other, until none waits."""
    while not turns.over.is_set():
        try:
            path, settings = turns.waiting.get_nowait()
        except queue.Empty:
            return
        try:
            result = _one(lane, turns, path, settings)
        except ClientError as error:
            result = {"passed": False, "why": str(error)}
        if result is not None:
            turns.results[path.stem] = result
        done()


def _one(lane: Lane, turns: _Turns, path: Path, settings: ExperimentSettings) -> Result | None:
    """What became of it; None: the options leave it out. Raises ClientError."""
    options = turns.options
    url = gateway_url(settings.url) if settings.url and not options.url else lane.url
    provider = turns.provider(url, settings.model)
    if options.provider not in (None, settings.provider or provider or options.provider):
        return None
    if provider is None:
        pinned = " on this GPU; --one-gateway gives it all" if lane.environment else ""
        return {"passed": None, "why": f"{url} has no '{settings.model}'{pinned}"}
    return _in_a_process(options, path, url, lane.environment if url == lane.url else {})


def _in_a_process(
    options: argparse.Namespace, path: Path, url: str, environment: Mapping[str, str]
) -> Result:
    command = [sys.executable, "-m", "clients.evaluation", "run", "--config", str(path)]
    command += ["--output", str(options.output), "--json", "--url", url]
    if options.questions is not None:
        command += ["--questions", str(options.questions)]
    for flag in ("fresh", "allow_errors"):
        if getattr(options, flag):
            command.append(f"--{flag.replace('_', '-')}")
    key = {"JURAT_API_KEY": options.api_key} if options.api_key else {}
    begun = time.perf_counter()
    try:
        ran = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=options.limit,
            env={**os.environ, **key, **environment},
        )
        passed, why = ran.returncode == 0, ran.stderr.strip()[-TAIL_CHARS:]
    except subprocess.TimeoutExpired:
        passed, why = False, f"not done within {options.limit:g} s; run it again to go on"
    seconds = round(time.perf_counter() - begun, 3)
    return {"passed": passed, "why": "" if passed else why, "seconds": seconds}


@contextmanager
def _lanes(options: argparse.Namespace, experiments: int) -> Generator[list[Lane]]:
    """The gateway that is named or runs; else a private one, or one for each GPU.

    `experiments`: how many need one of these.
    """
    there = running_gateway(options.url)
    if there is not None or not experiments:
        yield [Lane(url=there or "")]
        return
    gpus = [] if options.one_gateway else list_gpus()
    with ExitStack() as stack:
        if len(gpus) < 2 or experiments < 2:
            yield [Lane(url=stack.enter_context(private_gateway()))]
            return
        yield _pinned(gpus[:experiments], stack)


def _pinned(gpus: Sequence[Gpu], stack: ExitStack) -> list[Lane]:
    """A gateway for each GPU. One process at a time may write a data folder, so all but the first
    work on a copy of it: they have the same stores, and what they change is thrown away.
    """
    state = _data_folder()
    copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jurat-lanes-")))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu.uuid} for gpu in gpus]
    for at, environment in enumerate(environments[1:], 1):
        copy = copies / str(at)
        try:
            if state.is_dir():
                shutil.copytree(state, copy, symlinks=True)
            else:
                copy.mkdir()
        except (OSError, shutil.Error) as error:
            raise ClientError(f"Cannot copy {state} for another gateway: {error}.") from error
        environment["JURAT_DATA_DIR"] = str(copy)

    def start(environment: Mapping[str, str]) -> str:
        return stack.enter_context(private_gateway(environment))

    with ThreadPoolExecutor(len(gpus)) as threads:  # they start at the same time
        urls = list(threads.map(start, environments))
    return [
        Lane(url=url, environment={"CUDA_VISIBLE_DEVICES": gpu.uuid})
        for url, gpu in zip(urls, gpus, strict=True)
    ]


def _data_folder() -> Path:
    """Where a private gateway would keep its state. Raises ClientError."""
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "check-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in ran.stdout.splitlines():
        if line.startswith(DATA):
            return Path(line.removeprefix(DATA).strip())
    said = " ".join(ran.stderr.split()[-40:])
    raise ClientError(f"A private gateway would not start: {said or ran.returncode}")
