"""`jurat bench-models`: how long a model takes to load, how far off it is, and how two on the same
cores go fastest.

`load`: a worker as the gateway starts it, until it says that it is ready, against llama.cpp alone
in a process of its own with as many cells (or a program like llama-cli), in rounds that take turns.
The file is loaded once before, so that it is in the page cache and has been tried on this machine.

`hop`: requests of one token to a warm model, as their caller sees them, against what the worker
says that it took for each. The rest is the way there and back: the hold on the model, two messages
between two processes, the prompt's tokens.

`turns`: the same request to two models in two workers, one after the other with all cores each (as
ensembles ask models that share cores), against both at once.
"""

import argparse
import asyncio
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.engine import Engine
from models.engines.local import LocalEngine
from models.engines.on_demand import OnDemandEngine
from models.engines.trials import Trials
from models.errors import LoadFailed, ModelError
from models.footprint import Footprint
from models.hardware import fingerprint
from models.lifecycle import Lifecycle
from models.residency import Residency
from models.settings import ModelSettings
from models.sources import resolve
from models.types import GenerateEnd, GenerateRequest, Sampling, TextPrompt
from models.worker_spec import worker_spec

__all__ = ["main"]

MORE, BESIDES_S = 1.15, 0.5  # what a load may take: so many times llama.cpp's, and so much besides
HOP_S = 0.001  # what the way to a warm model may take at the median
CELLS = 2  # a worker's, for each token of its context, where nobody says
STOP_S = 10.0
TAIL = 2000  # characters of a log
WORDS = ("river", "stone", "lamp", "court", "harbour", "seven", "report", "winter", "island")


class Comparison(msgspec.Struct, kw_only=True):
    """Seconds a round of two ways to do the same."""

    ours: str
    theirs: str
    values: list[float] = []
    against: list[float] = []

    def lines(self) -> str:
        """For people: medians, and the ratio of rounds side by side."""
        ratios = [mine / other for mine, other in zip(self.values, self.against, strict=True)]
        return (
            f"{self.ours:<36}{_shown(self.values)} s\n"
            f"{self.theirs:<36}{_shown(self.against)} s\n"
            f"{'ratio':<36}{_shown(ratios)}\n"
        )


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        found = asyncio.run(options.measure(options))
    except (ModelError, OSError) as error:
        sys.stderr.write(f"jurat bench-models: {error}\n")
        return 1
    if options.json:
        body = {"machine": fingerprint(), "models": options.sources, "seconds": found}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(body), indent=1).decode() + "\n")
        return 0
    sys.stdout.write(found.lines())
    if options.measure is _hop:
        hops = [seen - inside for seen, inside in zip(found.values, found.against, strict=True)]
        hop = statistics.median(hops)
        verdict = "within" if hop <= HOP_S else "above"
        sys.stdout.write(f"{verdict} {HOP_S * 1000:g} ms: {hop * 1000:.2f} ms at the median\n")
    if options.measure is _load:
        may = MORE * statistics.median(found.against) + BESIDES_S
        verdict = "within" if statistics.median(found.values) <= may else "above"
        sys.stdout.write(
            f"{verdict} {MORE} times llama.cpp's and {BESIDES_S} s, which is {may:.2f} s\n"
        )
    return 0


async def _load(options: argparse.Namespace) -> Comparison:
    """A worker's start against a bare load. Raises ModelError."""
    (source,) = options.sources
    path = resolve(source, Path())
    found = Comparison(ours="a worker, until it is ready", theirs="llama.cpp alone")
    with tempfile.TemporaryDirectory(prefix="jurat-") as folder:

        async def ours() -> tuple[float, bool]:
            """Seconds, and whether it was in safe mode."""
            engine = _engine(source, options.context, Path(folder), "cores")
            try:
                began = time.perf_counter()
                await engine.start()
                return time.perf_counter() - began, engine.stats().safe_mode
            finally:
                await engine.stop(STOP_S)

        def theirs() -> float:
            if options.peer is not None:
                return _peer(options.peer, path)
            return _bare(path, CELLS * options.context, safe=safe)

        _, safe = await ours()
        theirs()
        for turn in range(options.rounds):
            if turn % 2:
                found.against.append(theirs())
            found.values.append((await ours())[0])
            if not turn % 2:
                found.against.append(theirs())
    return found


async def _hop(options: argparse.Namespace) -> Comparison:
    """Requests to a warm model from outside and from inside. Raises ModelError."""
    found = Comparison(ours="one token, for who asked", theirs="of it, in the worker")
    (source,) = options.sources
    with tempfile.TemporaryDirectory(prefix="jurat-") as folder:
        lifecycle = Lifecycle(Residency(None))
        worker = _engine(source, options.context, Path(folder), "cores")
        lifecycle.add(source, source, worker, Footprint())
        engine = OnDemandEngine(worker, source, lifecycle)
        try:
            for turn in range(options.rounds + 1):
                began = time.perf_counter()
                end = await _ask(engine, WORDS[0], 1)
                seconds = time.perf_counter() - began
                if turn:  # the first loads the model
                    timings = end.timings
                    inside = timings.queue_ms + timings.prefill_ms + timings.decode_ms
                    found.values.append(seconds)
                    found.against.append(inside / 1000)
        finally:
            await lifecycle.stop(STOP_S)
    return found


async def _turns(options: argparse.Namespace) -> Comparison:
    """Two models one after the other, against both at once. Raises ModelError."""
    chance = random.Random(options.seed)  # noqa: S311 (no secret)
    found = Comparison(ours="one after the other", theirs="both at once")
    with tempfile.TemporaryDirectory(prefix="jurat-") as folder:
        # A lock each: with one for both they would take turns, step by step.
        engines = [
            _engine(source, options.context, Path(folder), f"cores-{at}")
            for at, source in enumerate(options.sources)
        ]

        def text() -> str:
            """Another one each time, so that nothing of it was computed before."""
            return " ".join(chance.choice(WORDS) for _ in range(options.prompt))

        async def in_turn() -> None:
            for engine in engines:
                await _ask(engine, text(), options.tokens)

        async def at_once() -> None:
            await asyncio.gather(*(_ask(engine, text(), options.tokens) for engine in engines))

        try:
            for engine in engines:
                await engine.start()
            for turn in range(options.rounds + 1):
                steps = [(in_turn, found.values), (at_once, found.against)]
                for work, seconds in steps if turn % 2 else steps[::-1]:
                    began = time.perf_counter()
                    await work()
                    if turn:  # the first warms up
                        seconds.append(time.perf_counter() - began)
        finally:
            await asyncio.gather(*(engine.stop(STOP_S) for engine in engines))
    return found


def _engine(source: str, context: int, folder: Path, lock: str) -> LocalEngine:
    """A worker as the gateway would start it, without a memory of prompts."""
    settings = ModelSettings(
        id=source,
        kind="chat",
        source=source,
        context=context,
        kv_tokens=CELLS * context,
        prefix_cache_mb=0,
    )
    path = resolve(source, Path())
    spec = worker_spec(settings, path, Path(), folder, None, (), folder / lock)
    return LocalEngine(spec, folder, Trials(folder / "machine.json"))


async def _ask(engine: Engine, text: str, tokens: int) -> GenerateEnd:
    request = GenerateRequest(
        TextPrompt(text),
        max_tokens=tokens,
        sampling=Sampling(temperature=0.0, ignore_eos=True),
    )
    *_, last = [delta async for delta in engine.generate(request)]
    assert last.end is not None, "a completion without an end"
    return last.end


def _bare(path: Path, cells: int, *, safe: bool) -> float:
    """Seconds, without those that Python takes to start. Raises LoadFailed."""
    mode = "safe" if safe else "fast"
    argv = ["-P", "-m", "models.worker.bare_load", str(path), str(cells), mode]
    done = subprocess.run(  # noqa: S603 (our own module)
        [sys.executable, *argv], capture_output=True, text=True, check=False
    )
    try:
        return float(done.stdout)
    except ValueError:
        raise LoadFailed(f"llama.cpp alone cannot load {path}.", done.stderr) from None


def _peer(command: str, path: Path) -> float:
    """Seconds until a program that loads the file and ends has ended. Raises LoadFailed."""
    argv = [part.replace("{file}", str(path)) for part in shlex.split(command)]
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 (the user's own command, and no shell)
        argv, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        tail = done.stderr.decode("utf-8", "replace")[-TAIL:]
        raise LoadFailed(f"{argv[0]} ended with {done.returncode}: {tail}")
    return seconds


def _shown(values: Sequence[float]) -> str:
    """The median, and from which to which."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="jurat bench-models", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = made.add_subparsers(required=True, metavar="load|hop|turns")
    load = commands.add_parser("load", help="a worker's start against llama.cpp alone")
    load.add_argument("sources", nargs=1, metavar="SOURCE", help="file:PATH or package:NAME/FILE")
    load.add_argument(
        "--peer",
        metavar="COMMAND",
        help="a program that loads {file} and ends, instead: "
        "'llama-cli -m {file} -c 8192 -n 1 -p a -st'",
    )
    load.set_defaults(measure=_load)
    hop = commands.add_parser("hop", help="the way to a warm model and back")
    hop.add_argument("sources", nargs=1, metavar="SOURCE")
    hop.set_defaults(measure=_hop)
    turns = commands.add_parser("turns", help="two models in turn against both at once")
    turns.add_argument("sources", nargs=2, metavar="SOURCE")
    turns.add_argument("--prompt", type=_number, default=200, help="words; default: %(default)s")
    turns.add_argument(
        "--tokens", type=_number, default=64, help="of answers; default: %(default)s"
    )
    turns.add_argument("--seed", type=int, default=0, help="of the prompts; default: %(default)s")
    turns.set_defaults(measure=_turns)
    for each in (load, hop, turns):
        each.add_argument("--context", type=_number, default=4096, help="default: %(default)s")
        rounds = 200 if each is hop else 5
        each.add_argument("--rounds", type=_number, default=rounds, help="default: %(default)s")
        each.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it takes a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
