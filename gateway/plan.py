"""`jurat plan`: what this machine can run of the configured models, and how, before it runs."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from gateway.config_files import Configuration, load_configuration
from gateway.planning import Planning, layouts
from gateway.toml import ConfigError
from models.errors import ModelError
from models.fit import Fit, gib
from models.layout import BITS, Layout, scaled
from models.machine import read_machine
from models.memory import Estimate, Part, estimate, sizes
from models.plan import ModelPlan
from models.settings import ModelSettings
from models.sources import locate
from models.worker_spec import worker_spec

__all__ = ["main", "markdown"]

QUANTS = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
PIPE_WIDTH = 200  # columns, where nobody says how many there are
KINDS = ("weights", "kv", "buffers", "process", "prompts")


def main(argv: Sequence[str]) -> int:
    """Run the command. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog="jurat plan", description=__doc__)
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--table", action="store_true", help="a Markdown table of all models at all precisions"
    )
    other.add_argument(
        "--measure",
        action="store_true",
        help="load each model once and compare the memory it takes with the estimate",
    )
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    if options.table:
        sys.stdout.write(
            markdown(found.models, layouts(found.models, found.directory, found.data_dir))
        )
        return 0
    planning = Planning(found, read_machine())
    if options.measure:
        import asyncio  # with what runs workers, half of the time that a plan takes

        return asyncio.run(_measure(found, planning, as_json=options.json))
    if options.json:
        _print_json(_as_json(planning))
    else:
        _print_plan(planning)
    return 0


def _print_plan(planning: Planning) -> None:
    plan, console = planning.plan, _console()
    console.print(_room(planning), soft_wrap=True)
    models = Table(title="Models", title_justify="left")
    for column in ("model", "weights", "KV cache", "other", "prompts", "total"):
        models.add_column(column, justify="left" if column == "model" else "right")
    for column in ("context", "requests", "stays"):
        models.add_column(column, justify="right")
    models.add_column("runs")
    for name, one in plan.models.items():
        models.add_row(name, *_row(one))
    console.print(models)
    if plan.ensembles:
        ensembles = Table(title="Ensembles", title_justify="left")
        for column in ("ensemble", "execution", "one after the other", "at once", "because"):
            ensembles.add_column(column)
        for name, each in plan.ensembles.items():
            turns = "; ".join(" + ".join(wave) for wave in each.waves)
            ensembles.add_row(name, each.execution, turns, ", ".join(each.beside), each.reason)
        console.print(ensembles)


def _row(one: ModelPlan) -> list[str]:
    if one.fit is None:
        return ["-"] * 8 + [one.error or "elsewhere: takes no memory here"]
    parts = (one.fit.estimate.host, *one.fit.estimate.devices.values())
    placement = one.fit.placement
    cache = sum(part.prompts + part.kv for part in parts) > 0 and one.fit.requests > 0
    estimated = one.layout is not None and one.layout.estimated
    return [
        gib(sum(part.weights for part in parts)),
        gib(sum(part.kv for part in parts)),
        gib(sum(part.buffers + part.process for part in parts)),
        gib(sum(part.prompts for part in parts)),
        gib(sum(part.total for part in parts)),
        str(placement.context) if cache else "-",
        str(one.fit.requests) if cache else "-",
        "not pulled" if estimated else "yes" if one.resident else "on demand",
        one.fit.reason,
    ]


def _room(planning: Planning) -> str:
    room, machine = planning.plan.room, planning.machine
    gpus = [
        f"{gib(room.devices[gpu.index])} of {gib(gpu.total)} on GPU {gpu.index} ({gpu.name})"
        for gpu in machine.devices
        if gpu.index in room.devices
    ]
    host = f"{gib(room.host)} of {gib(machine.host_total)} of the host's memory"
    return f"Models may take {', '.join([host, *gpus])}; {machine.cores} cores compute."


def _as_json(planning: Planning) -> object:
    plan = planning.plan
    return {
        "machine": planning.machine,
        "budget": plan.room,
        "models": {name: _model_json(one) for name, one in plan.models.items()},
        "ensembles": plan.ensembles,
    }


def _model_json(one: ModelPlan) -> dict[str, object]:
    if one.fit is None:
        return {"resident": one.resident, "error": one.error or None}
    return {
        "resident": one.resident,
        "error": None,
        "estimated": one.layout is not None and one.layout.estimated,
        "memory": {
            "host": _part_json(one.fit.estimate.host),
            "devices": {gpu: _part_json(part) for gpu, part in one.fit.estimate.devices.items()},
        },
        "placement": one.fit.placement,
        "requests_at_full_context": one.fit.requests,
        "reason": one.fit.reason,
    }


def _part_json(part: Part) -> dict[str, int]:
    return {**{kind: getattr(part, kind) for kind in KINDS}, "total": part.total}


def markdown(
    models: Mapping[str, ModelSettings], layouts: Mapping[str, Layout | ModelError]
) -> str:
    """Memory of every GGUF model at every precision, for its context and all it takes beside.

    Without what is kept of prompts. A precision that the source itself has is in bold. Raises
    ConfigError.
    """
    lines = [
        f"| model | parameters | context | {' | '.join(QUANTS)} |",
        f"|---|---:|---:|{'---:|' * len(QUANTS)}",
    ]
    for name, settings in models.items():
        layout = layouts.get(name)
        if not isinstance(layout, Layout) or layout.folder or not layout.parameters:
            continue
        try:
            cells = [_cell(settings, layout, quant) for quant in QUANTS]
        except ModelError as error:  # settings that contradict each other
            raise ConfigError(f"models.{name}: {error}") from error
        billions = layout.parameters / 1e9
        about = "about " if settings.parameters_estimated else ""
        context = sizes(settings, layout).context
        lines.append(
            f"| {settings.name or name} | {about}{billions:.3g} B | {context:,} "
            f"| {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(settings: ModelSettings, layout: Layout, quant: str) -> str:
    own = quant == layout.quant
    wanted = layout.parameters * BITS[quant] / 8
    changed = layout if own else scaled(layout, wanted / layout.weights, quant)
    lean = replace(settings, prefix_cache_mb=0)
    total = estimate(lean, changed, sizes(lean, changed)).host.total
    return f"**{gib(total)}**" if own else gib(total)


async def _measure(found: Configuration, planning: Planning, *, as_json: bool) -> int:
    """Estimate and worker side by side, for every model whose files are here. 1 if one failed."""
    rows: dict[str, tuple[int, int]] = {}
    status = 0
    for name, settings in found.models.items():
        try:
            # Prompts are kept as they come: how much of that memory is filled is chance.
            lean = replace(settings, prefix_cache_mb=0)
            place = planning.fit(lean)
            if place is not None:
                rows[name] = await _weigh(found, planning, lean, place)
        except (ModelError, OSError) as error:
            sys.stderr.write(f"jurat: {name}: {error}\n")
            status = 1
    if as_json:
        _print_json({n: {"estimated": e, "measured": m} for n, (e, m) in rows.items()})
        return status
    table = Table("model", "estimated", "measured", "estimated is")
    for name, (expected, measured) in rows.items():
        table.add_row(name, gib(expected), gib(measured), f"{expected / measured - 1:+.1%}")
    _console().print(table)
    return status


async def _weigh(
    found: Configuration, planning: Planning, settings: ModelSettings, place: Fit
) -> tuple[int, int]:
    """Bytes of the host's memory: estimated, measured."""
    from models.weigh import weigh

    path = locate(settings, found.directory, found.data_dir)
    devices = planning.machine.devices
    with tempfile.TemporaryDirectory(prefix="jurat-") as folder:
        lock = Path(folder) / "cores"
        spec = worker_spec(
            settings, path, found.directory, found.data_dir, place.placement, devices, lock
        )
        taken: Estimate = place.estimate
        return taken.host.total, await weigh(spec, found.data_dir)


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _console() -> Console:
    # Names and paths are no markup: of "[shape]" nothing would be seen.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
