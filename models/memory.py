"""How much memory a model takes, by its layout and settings. Pure.

The sizes are llama.cpp's own: what `models.worker` asks it for, and what it makes of that. What no
rule gives (the process, the vocabulary's tables, a GPU's context) was measured; `jurat plan
--measure` compares all of it with a worker that runs.
"""

from typing import Any

from msgspec import Struct, field

from models.errors import LoadFailed
from models.footprint import Footprint, Machine
from models.layout import Layer, Layout
from models.settings import KVType, ModelSettings
from models.worker.limits import SCORED_ROWS, cache_sizes

__all__ = [
    "MIB",
    "Estimate",
    "Limits",
    "Part",
    "Placement",
    "budget",
    "estimate",
    "fits",
    "footprint",
    "less",
    "sizes",
]

MIB = 1 << 20
# Of a worker that has read one prompt and filled in one JSON schema: Python with its libraries,
# and tables of the vocabulary, llama.cpp's and llguidance's.
PROCESS = 64 * MIB
PER_TOKEN_OF_VOCABULARY = 690
TORCH_PROCESS = 440 * MIB
TORCH_BATCH = 512 * MIB  # on a GPU, where batches are large
# A worker with a context on a GPU. From the literature: no GPU was at hand.
DEVICE_CONTEXT = 512 * MIB
DEVICE_PROCESS = 384 * MIB  # of the host's memory: the driver's and CUDA's libraries

BATCH = 512  # tokens of one batch (models.worker.llama)
EMBED_CONTEXT = 2048  # tokens that a GGUF embedder reads at once (models.worker.llama_embedder)
EMBED_SEQUENCES = 64
CELLS = 256  # llama.cpp rounds a cache up to so many
# Bytes of a block of 32 numbers.
KV_BYTES: dict[KVType, int] = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
}


class Placement(Struct, frozen=True, kw_only=True):
    """How a model is to run.

    `gpu_layers` counts the output as one more layer after all others. They are spread over `gpus`
    by `split`, parts of any sum; the rest stays on the host. `kv_tokens` are all the cache's.
    """

    gpu_layers: int = 0
    gpus: tuple[int, ...] = ()
    split: tuple[float, ...] = ()
    context: int
    kv_tokens: int
    parallel: int


class Part(Struct, frozen=True, kw_only=True):
    """What a model takes of one memory, in bytes.

    `buffers` are what computing takes, `process` what running at all does; `prompts` is kept free
    for prompts that were seen (`prefix_cache_mb`) and fills up as they come.
    """

    weights: int = 0
    kv: int = 0
    buffers: int = 0
    process: int = 0
    prompts: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.buffers + self.process + self.prompts


class Estimate(Struct, frozen=True, kw_only=True):
    """A model's memory by kind."""

    host: Part
    devices: dict[int, Part] = field(default_factory=dict[int, Part])

    @property
    def footprint(self) -> Footprint:
        """The sums."""
        return Footprint(
            host=self.host.total,
            devices={index: part.total for index, part in self.devices.items()},
        )


class Limits(Struct, frozen=True, kw_only=True):
    """What the user gives to models at most, in bytes; None: a fraction of what is free."""

    host: int | None = None
    device: int | None = None  # of each GPU


def budget(machine: Machine, fraction: float, limits: Limits) -> Footprint:
    """What models may take in all: this fraction of what is free, or the limit if that is free."""

    def share(free: int, limit: int | None) -> int:
        return int(free * fraction) if limit is None else min(limit, free)

    return Footprint(
        host=share(machine.host_free, limits.host),
        devices={
            gpu.index: share(gpu.free, limits.device)
            for gpu in machine.devices
            if limits.device != 0
        },
    )


def fits(taken: Footprint, room: Footprint) -> bool:
    """Whether there is room for it in every memory."""
    devices = (size <= room.devices.get(gpu, 0) for gpu, size in taken.devices.items())
    return taken.host <= room.host and all(devices)


def less(room: Footprint, taken: Footprint) -> Footprint:
    """What is left of it; below zero where too much was taken."""
    return Footprint(
        host=room.host - taken.host,
        devices={gpu: size - taken.devices.get(gpu, 0) for gpu, size in room.devices.items()},
    )


def sizes(settings: ModelSettings, layout: Layout) -> Placement:
    """The context and the cache that the settings ask for, on the host.

    Raises LoadFailed for a context above what the model was trained for, and for settings that
    contradict each other.
    """
    if layout.folder:
        return Placement(context=layout.context, kv_tokens=0, parallel=1)
    if settings.kind != "chat":
        wanted = settings.context or min(EMBED_CONTEXT, layout.context)
        context, _ = _checked(settings, wanted, None, layout.context, 1)
        return Placement(context=context, kv_tokens=max(context, BATCH), parallel=EMBED_SEQUENCES)
    unified, split = settings.kv == "unified", _split(settings, layout)
    context, tokens = _checked(
        settings,
        settings.context,
        settings.kv_tokens if settings.kv == "split" or not split else None,
        layout.context,
        settings.parallel + unified if split else 1,
    )
    return Placement(context=context, kv_tokens=tokens, parallel=settings.parallel)


def _checked(settings: ModelSettings, *asked: Any) -> tuple[int, int]:
    try:
        return cache_sizes(*asked)
    except LoadFailed as error:
        raise LoadFailed(f"Model '{settings.id}' ({settings.source}): {error}") from error


def footprint(settings: ModelSettings, layout: Layout, placement: Placement) -> Footprint:
    """What the model takes where it is placed."""
    return estimate(settings, layout, placement).footprint


def estimate(settings: ModelSettings, layout: Layout, placement: Placement) -> Estimate:
    """The same, by kind."""
    if layout.folder:
        host = Part(weights=layout.weights, process=TORCH_PROCESS)
        device = Part(weights=layout.weights, buffers=TORCH_BATCH, process=DEVICE_CONTEXT)
        return Estimate(host=host, devices=dict.fromkeys(placement.gpus, device))
    total = len(layout.layers) + 1
    moved = min(placement.gpu_layers, total) if placement.gpus else 0
    buffers = _buffers(settings, layout, placement)
    weights, kv = _spread(settings, layout, placement, total - moved)
    process = PROCESS + PER_TOKEN_OF_VOCABULARY * layout.vocabulary
    if placement.gpus:
        process += DEVICE_PROCESS
    # Logits are copied to the host, wherever they were computed.
    outputs = 4 * _rows(settings, placement) * layout.vocabulary
    host = Part(
        weights=layout.input + layout.adapters + weights.get(-1, 0),
        kv=kv.get(-1, 0),
        buffers=outputs + (buffers if moved < total else 4 * BATCH * layout.embedding),
        process=process,
        prompts=settings.prefix_cache_mb * 1_000_000 if settings.kind == "chat" else 0,
    )
    devices = {
        gpu: Part(
            weights=weights.get(gpu, 0) + (layout.adapters if moved else 0),
            kv=kv.get(gpu, 0),
            buffers=buffers,
            process=DEVICE_CONTEXT,
        )
        for gpu in placement.gpus
    }
    return Estimate(host=host, devices=devices)


def _spread(
    settings: ModelSettings, layout: Layout, placement: Placement, first: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Weights and cache of each GPU, and of the host under -1, the layers from `first` on moved."""
    weights: dict[int, int] = {}
    kv: dict[int, int] = {}
    for at, layer in enumerate(layout.layers):
        where = _device(placement, at, first, len(layout.layers) + 1)
        weights[where] = weights.get(where, 0) + layer.weights
        kv[where] = kv.get(where, 0) + _cache(settings, layout, placement, layer)
    where = _device(placement, len(layout.layers), first, len(layout.layers) + 1)
    copied = layout.input if layout.tied and where >= 0 else 0
    weights[where] = weights.get(where, 0) + layout.output + copied
    return weights, kv


def _device(placement: Placement, at: int, first: int, total: int) -> int:
    """Where llama.cpp puts a layer: its share of the moved ones decides, like a ruler's marks."""
    if at < first or not placement.gpus:
        return -1
    split = placement.split or (1.0,) * len(placement.gpus)
    position = (at - first) / (total - first)
    reached = 0.0
    for gpu, part in zip(placement.gpus, split, strict=True):
        reached += part / sum(split)
        if position < reached:
            return gpu
    return placement.gpus[-1]


def _split(settings: ModelSettings, layout: Layout) -> bool:
    """Whether the cache is in parts; a recurrent model's always is."""
    attention = any(layer.keys for layer in layout.layers)
    return settings.kv == "split" or (layout.recurrent and not attention)


def _shares(settings: ModelSettings, layout: Layout) -> bool:
    """Whether requests share prefixes: then windowed layers keep every cell."""
    windows = any(layer.windowed for layer in layout.layers)
    uncuttable = layout.recurrent or (_split(settings, layout) and windows)
    return settings.share_prefixes and not uncuttable


def _sequences(settings: ModelSettings, layout: Layout, placement: Placement) -> int:
    """As many as the worker tells llama.cpp: one more for a finished prompt, one for saving."""
    if settings.kind != "chat":
        return EMBED_SEQUENCES
    windows = any(layer.windowed for layer in layout.layers)
    unified = settings.kv != "split"
    return placement.parallel + unified + (_shares(settings, layout) and windows)


def _cache(settings: ModelSettings, layout: Layout, placement: Placement, layer: Layer) -> int:
    sequences = _sequences(settings, layout, placement)
    if not layout.causal:
        return 0
    cells = _round(placement.kv_tokens)
    if layer.windowed and not (settings.kind != "chat" or _shares(settings, layout)):
        reach = layout.window * (1 if _split(settings, layout) else sequences) + BATCH
        parts = sequences if _split(settings, layout) else 1
        cells = min(cells, parts * _round(reach))
    blocks = -(-layer.keys // 32) + -(-layer.values // 32)
    kind = "f16" if settings.kind != "chat" else settings.kv_type
    return cells * blocks * KV_BYTES[kind] + sequences * layer.state


def _buffers(settings: ModelSettings, layout: Layout, placement: Placement) -> int:
    """Of one batch: its widest step, and a mask of all cells for each kind of layer.

    Measured: three times the feed-forward network and four to five times a token's vector.
    """
    batch = max(BATCH, placement.kv_tokens) if settings.kind != "chat" else BATCH
    step = 4 * batch * (3 * layout.feed_forward + 5 * layout.embedding)
    logits = 4 * _rows(settings, placement) * layout.vocabulary
    kinds = len({layer.windowed for layer in layout.layers if layer.keys})
    return max(step, logits) + 2 * kinds * batch * _round(placement.kv_tokens)


def _rows(settings: ModelSettings, placement: Placement) -> int:
    """Rows of logits of one batch: one a sequence, and those of given tokens. Embedding: none."""
    return 0 if settings.kind != "chat" else placement.parallel + 2 + SCORED_ROWS


def _round(cells: int) -> int:
    return -(-cells // CELLS) * CELLS
