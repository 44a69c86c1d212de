"""Where a model runs: the first way, from the best on, that there is room for. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from models.errors import DoesNotFit
from models.footprint import Footprint
from models.layout import BITS, Layout, scaled
from models.memory import Estimate, Part, Placement, estimate, fits, sizes
from models.settings import ModelSettings

__all__ = ["Fit", "fit", "gib"]

LEAST_CONTEXT = 4096  # that a plan lowers a context to, where the settings name none
WIDE = ("f32", "f16", "bf16")
LEAST_ADVISED = 256  # that a refusal speaks of
SMALLER = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
GIB = 1 << 30


class Fit(Struct, frozen=True, kw_only=True):
    """Where a model runs, what it takes there, and why so."""

    placement: Placement
    estimate: Estimate
    reason: str
    whole: bool  # on GPUs, so that the host's cores compute none of it
    parameters: int = 0  # of its weights, as its file says; 0: nobody says

    @property
    def requests(self) -> int:
        """How many of the longest requests fit its cache at once."""
        placement = self.placement
        return min(placement.parallel, placement.kv_tokens // placement.context)


def fit(settings: ModelSettings, layout: Layout, room: Footprint) -> Fit:
    """The first of all ways that fits the room.

    All of it on one GPU, then on several, with the cache that was asked for and then with a
    smaller one; then as many layers as fit; then on the host. A setting that names layers, GPUs or
    a split is obeyed. Raises DoesNotFit with the numbers and with settings that would.
    """
    found = _first(settings, layout, room)
    if found is None:
        raise DoesNotFit(_refusal(settings, layout, room))
    return found


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / (1 << 20):.0f} MiB"


def _first(settings: ModelSettings, layout: Layout, room: Footprint) -> Fit | None:
    asked = sizes(settings, layout)
    for placement, reason in _ways(settings, layout, room):
        found = estimate(settings, layout, placement)
        if fits(found.footprint, room):
            smaller = _smaller(asked, placement)
            return Fit(
                placement=placement,
                estimate=found,
                reason=reason + smaller,
                whole=bool(placement.gpus) and placement.gpu_layers > len(layout.layers),
                parameters=0 if layout.estimated else layout.parameters,
            )
    return None


def _smaller(asked: Placement, placement: Placement) -> str:
    """What to say of a context or a cache that is not what one may expect."""
    if placement.context < asked.context:
        return (
            f"; context {placement.context}: of the {asked.context} it was trained for, no more fit"
        )
    if placement.kv_tokens < asked.kv_tokens:
        return f"; a cache of {placement.kv_tokens} tokens: {asked.kv_tokens} do not fit"
    return ""


def _ways(
    settings: ModelSettings, layout: Layout, room: Footprint
) -> Iterator[tuple[Placement, str]]:
    """Placements, the best first."""
    gpus = _gpus(settings, room)
    options = _sizes(settings, layout)
    total = len(layout.layers) + 1
    wish = settings.gpu_layers
    layers = total if wish in ("auto", -1) else min(int(wish), total)
    if gpus and wish != 0:
        for option in options:
            for used, why in _sets(settings, gpus, room):
                whole = f"whole on {why}"
                part = f"{layers} of {total} layers on {why}, as set"
                placement = _on(option, used, layers, room, settings)
                yield placement, whole if layers == total else part
        if wish == "auto" and not layout.folder:
            yield from _partly(settings, layout, room, options[-1], gpus)
    if not gpus or wish in ("auto", 0):
        why = "there is no GPU" if not gpus else "no layer fits" if wish == "auto" else "as set"
        for option in options:
            yield option, f"on the processor: {why}"


def _partly(
    settings: ModelSettings,
    layout: Layout,
    room: Footprint,
    option: Placement,
    gpus: Sequence[int],
) -> Iterator[tuple[Placement, str]]:
    """As many layers as there is room for, over all GPUs."""
    total = len(layout.layers) + 1

    def crowded(moved: int) -> bool:
        placement = _on(option, gpus, moved, room, settings)
        taken = estimate(settings, layout, placement).footprint
        return not fits(Footprint(devices=taken.devices), room)

    moved = bisect_left(range(1, total), True, key=crowded)
    if moved:
        names = _names(gpus)
        yield (
            _on(option, gpus, moved, room, settings),
            f"{moved} of {total} layers on {names}: no more fit",
        )


def _on(
    option: Placement, gpus: Sequence[int], moved: int, room: Footprint, settings: ModelSettings
) -> Placement:
    split = settings.tensor_split or [max(1.0, room.devices[gpu]) for gpu in gpus]
    return replace(
        option,
        gpu_layers=moved,
        gpus=tuple(gpus),
        split=tuple(split) if len(gpus) > 1 else (),
    )


def _sets(
    settings: ModelSettings, gpus: Sequence[int], room: Footprint
) -> Iterator[tuple[Sequence[int], str]]:
    """GPUs to try together: the one with most room first, each alone, then all."""
    if settings.tensor_split is None or len(gpus) == 1:
        for gpu in sorted(gpus, key=lambda gpu: -room.devices[gpu]):
            yield (gpu,), f"GPU {gpu}"
    if len(gpus) > 1:
        why = "as set" if settings.tensor_split is not None else "no single one has room for it"
        yield gpus, f"{_names(gpus)}: {why}"


def _gpus(settings: ModelSettings, room: Footprint) -> tuple[int, ...]:
    """Those that the model may use. Raises DoesNotFit for one that is not there."""
    known = tuple(sorted(room.devices))
    if settings.gpus is not None:
        for gpu in settings.gpus:
            if gpu not in known:
                there = f"there are {_names(known)}" if known else "there is none"
                raise DoesNotFit(f"Model '{settings.id}': gpus names GPU {gpu}; {there}.")
        known = tuple(settings.gpus)
    parts = settings.tensor_split
    if parts is not None and known and len(parts) != len(known):
        raise DoesNotFit(
            f"Model '{settings.id}': tensor_split has {len(parts)} parts for {_names(known)}."
        )
    return known


def _sizes(settings: ModelSettings, layout: Layout) -> list[Placement]:
    """What was asked for, and smaller caches where the settings leave that open."""
    asked = sizes(settings, layout)
    if settings.kind != "chat" or layout.folder:
        return [asked]
    contexts = [asked.context]
    if settings.context is None and settings.kv_tokens is None:
        while contexts[-1] // 2 >= LEAST_CONTEXT:
            contexts.append(contexts[-1] // 2)
    found: list[Placement] = []
    for context in contexts:
        option = sizes(replace(settings, context=context), layout)
        found.append(option)
        if settings.kv == "unified" and settings.kv_tokens is None:
            found.append(replace(option, kv_tokens=context))
    return found


def _refusal(settings: ModelSettings, layout: Layout, room: Footprint) -> str:
    """Why not: what it takes where it fits least badly, what there is, and what would fit."""
    placement, _ = list(_ways(settings, layout, room))[-1]
    found = estimate(settings, layout, placement)
    lacks: list[str] = []
    if found.host.total > room.host:
        lacks.append(f"{_spelled(found.host)} of the host's memory and may have {gib(room.host)}")
    lacks += [
        f"{_spelled(part)} of GPU {gpu} and may have {gib(room.devices[gpu])}"
        for gpu, part in found.devices.items()
        if part.total > room.devices[gpu]
    ]
    remedies = list(_remedies(settings, layout, room, placement)) or list(
        _together(settings, layout, room, placement)
    )
    advice = (
        f"It would fit with {' or '.join(remedies)}."
        if remedies
        else "No smaller context, cache or precision of it fits."
    )
    return f"The model '{settings.id}' takes {'; '.join(lacks)}. {advice}"


def _spelled(part: Part) -> str:
    kinds = {
        "weights": part.weights,
        "KV cache": part.kv,
        "buffers": part.buffers,
        "process": part.process,
        "prompts kept": part.prompts,
    }
    return f"{gib(part.total)} ({', '.join(f'{k} {gib(v)}' for k, v in kinds.items() if v)})"


def _remedies(
    settings: ModelSettings, layout: Layout, room: Footprint, placement: Placement
) -> Iterator[str]:
    """Single settings that would do, in the words of a settings file."""

    def helps(changed: ModelSettings, other: Layout = layout) -> bool:
        return _first(changed, other, room) is not None

    if isinstance(settings.gpu_layers, int) and helps(replace(settings, gpu_layers="auto")):
        yield 'gpu_layers = "auto"'
    if settings.tensor_split is not None and helps(replace(settings, tensor_split=None)):
        yield "no tensor_split"
    if settings.kind == "chat":
        free = replace(settings, kv_tokens=None)
        given = settings.kv_tokens is not None
        context = placement.context // 2
        if given and helps(free):
            yield "no kv_tokens"
            context = 0
        while context >= LEAST_ADVISED:
            if helps(replace(free, context=context)):
                yield f"context = {context}{' and no kv_tokens' if given else ''}"
                break
            context //= 2
        if settings.kv_type in WIDE and helps(replace(settings, kv_type="q8_0")):
            yield 'kv_type = "q8_0"'
        if settings.prefix_cache_mb and helps(replace(settings, prefix_cache_mb=0)):
            yield "prefix_cache_mb = 0"
    present = BITS.get(layout.quant, 0.0)  # what is not known is not compared
    for quant in SMALLER:
        if BITS[quant] < present and helps(settings, scaled(layout, BITS[quant] / present, quant)):
            yield f"the precision {quant}"
            break


def _together(
    settings: ModelSettings, layout: Layout, room: Footprint, placement: Placement
) -> Iterator[str]:
    """The cheaper cache and the largest context beside it, where no single setting would do."""
    if settings.kind != "chat" or layout.folder:
        return
    lean = replace(settings, kv_tokens=None)
    said = [] if settings.kv_tokens is None else ["no kv_tokens"]
    if settings.kv_type in WIDE:
        lean, said = replace(lean, kv_type="q8_0"), [*said, 'kv_type = "q8_0"']
    if settings.prefix_cache_mb:
        lean, said = replace(lean, prefix_cache_mb=0), [*said, "prefix_cache_mb = 0"]
    context = placement.context
    while context >= LEAST_ADVISED:
        if _first(replace(lean, context=context), layout, room) is not None:
            yield f"{' and '.join([f'context = {context}', *said])} together"
            return
        context //= 2


def _names(gpus: Sequence[int]) -> str:
    plural = "s" if len(gpus) > 1 else ""
    return f"GPU{plural} {', '.join(map(str, gpus))}"
