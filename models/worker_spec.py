"""From a model's settings and its placement to what a worker is told."""

from collections.abc import Sequence
from pathlib import Path

from models.footprint import Device
from models.hardware import core_count
from models.memory import Placement
from models.settings import ModelSettings
from models.sources import adapters
from models.worker.messages import WorkerSpec

__all__ = ["worker_spec"]


def worker_spec(
    settings: ModelSettings,
    path: Path,
    base: Path,
    data_dir: Path,
    placement: Placement | None,
    devices: Sequence[Device],
    core_lock: Path,
) -> WorkerSpec:
    """What runs the model at `path` where it is placed; None: as its settings say.

    `devices` are the machine's GPUs; adapters' relative `file:` sources start at `base`,
    and `data_dir` knows what was pulled. Raises
    SourceError for an adapter that is not there.
    """
    chat = settings.kind == "chat"
    planned = placement if chat else None
    return WorkerSpec(
        model=settings.id,
        kind=settings.kind,
        path=str(path),
        threads=settings.threads or core_count(),
        context=planned.context if planned else settings.context,
        kv_tokens=planned.kv_tokens if planned else settings.kv_tokens,
        parallel=min(settings.parallel, settings.max_concurrent or settings.parallel),
        max_waiting=settings.max_waiting,
        kv=settings.kv,
        kv_type=settings.kv_type,
        share_prefixes=settings.share_prefixes,
        prefix_scope=settings.prefix_scope,
        prefix_cache_mb=settings.prefix_cache_mb if chat else 0,
        gpu_layers=_layers(settings, placement, devices),
        tensor_split=placement.split if placement else tuple(settings.tensor_split or ()),
        devices=_devices(placement, devices),
        backend_sampling=settings.backend_sampling,
        chat_template=settings.chat_template,
        core_lock=str(core_lock),
        lora=tuple(
            (str(path), each.scale)
            for path, each in zip(adapters(settings, base, data_dir), settings.lora, strict=True)
        ),
        pooling=settings.pooling,
        dimensions=settings.dimensions,
        query_prompt=settings.query_prompt,
        document_prompt=settings.document_prompt,
        trust_remote_code=settings.trust_remote_code,
    )


def _layers(settings: ModelSettings, placement: Placement | None, devices: Sequence[Device]) -> int:
    """All, where nothing is known of GPUs: there may be one that NVML does not see (Metal)."""
    if placement is not None and devices:
        return placement.gpu_layers if placement.gpus else 0
    return -1 if settings.gpu_layers == "auto" else settings.gpu_layers


def _devices(placement: Placement | None, devices: Sequence[Device]) -> tuple[str, ...] | None:
    if placement is None or not devices:
        return None
    names = {device.index: device.uuid for device in devices}
    return tuple(names[gpu] for gpu in placement.gpus)
