"""What a worker is told by settings and plan, and what llama.cpp makes of it."""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import LoadFailed, NotDownloaded, SourceError
from models.footprint import Device
from models.inspect import inspect
from models.layout import Layout
from models.memory import Placement
from models.settings import Lora, ModelSettings
from models.worker.llama import Llama, Rows
from models.worker.process import _visible  # pyright: ignore[reportPrivateUsage]
from models.worker_spec import worker_spec
from tests.tiny_models import write_windowed

TOKENS = [1, *range(10, 40)]
WIDTH, RANK = 64, 4
GPUS = [Device(index=at, name="L4", uuid=f"GPU-{at}", total=0, free=0) for at in range(3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_windowed(path, window=0)
    return path


def write_adapter(path: Path, architecture: str = "gemma3", scale: float = 16.0) -> Path:
    """Of rank 4, for the first block's output; about as large as what it is added to."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", scale)
    random = np.random.default_rng(5)
    for name, shape in (("a", (RANK, WIDTH)), ("b", (WIDTH, RANK))):
        values = random.standard_normal(shape, np.float32) / 8
        writer.add_tensor(f"blk.0.attn_output.weight.lora_{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(
    model: Path, *, kv_type: str = "f16", lora: Sequence[tuple[str, float]] = ()
) -> NDArray[np.float32]:
    llama = Llama(
        model,
        context=256,
        kv_tokens=256,
        sequences=1,
        threads=1,
        gpu_layers=0,
        safe_mode=True,
        kv_type=kv_type,
        lora=lora,
    )
    assert llama.decode([Rows(0, 0, TOKENS, True)]) == 0
    return llama.logits(1)[0].copy()


def test_an_adapter_moves_logits_by_its_scale(model: Path, tmp_path: Path) -> None:
    adapter = str(write_adapter(tmp_path / "lora.gguf"))
    plain = logits(model)
    none = logits(model, lora=[(adapter, 0.0)])
    half, full = (np.std(logits(model, lora=[(adapter, s)]) - plain) for s in (0.05, 0.1))
    assert np.std(none - plain) < 1e-3
    assert half > 0.01
    assert full > 1.3 * half
    twice = logits(model, lora=[(adapter, 0.05), (adapter, 0.05)])
    assert np.std(twice - logits(model, lora=[(adapter, 0.1)])) < 0.1 * full


def test_adapters_that_do_not_apply_are_named(model: Path, tmp_path: Path) -> None:
    other = write_adapter(tmp_path / "other.gguf", "llama")
    with pytest.raises(LoadFailed, match=r"other\.gguf is no LoRA adapter of this model"):
        logits(model, lora=[(str(other), 1.0)])
    with pytest.raises(LoadFailed, match=r"none\.gguf is no LoRA adapter"):
        logits(model, lora=[(str(tmp_path / "none.gguf"), 1.0)])


def test_a_plan_counts_adapters_and_names_those_that_do_not_apply(
    model: Path, tmp_path: Path
) -> None:
    def planned(*sources: str) -> Layout | None:
        settings = ModelSettings(
            id="m",
            kind="chat",
            source=f"file:{model}",
            lora=[Lora(source=each) for each in sources],
        )
        return inspect(settings, tmp_path, tmp_path)

    adapter = write_adapter(tmp_path / "lora.gguf")
    found, without = planned("file:lora.gguf", "file:lora.gguf"), planned()
    assert found is not None
    assert without is not None
    assert found.weights - without.weights == 2 * adapter.stat().st_size
    write_adapter(tmp_path / "other.gguf", architecture="llama")
    with pytest.raises(SourceError, match=r"other\.gguf is an adapter for 'llama'.*'gemma3'"):
        planned("file:other.gguf")
    with pytest.raises(SourceError, match="is no LoRA adapter"):
        planned(f"file:{model}")
    with pytest.raises(SourceError, match=r"there is no file .*lost\.gguf"):
        planned("file:lost.gguf")
    with pytest.raises(NotDownloaded, match=r"jurat pull hf:org/far/lora\.gguf"):
        planned("hf:org/far/lora.gguf")


def test_caches_of_less_precision_give_nearly_the_same(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    write_windowed(path, window=0)
    exact = logits(path, kv_type="f32")
    spread = float(np.std(exact))
    for kv_type, noise in (("f16", 0.01), ("bf16", 0.05), ("q8_0", 0.05), ("q4_0", 0.6)):
        assert np.std(logits(path, kv_type=kv_type) - exact) < noise * spread, kv_type
    assert np.std(logits(path, kv_type="q4_0") - exact) > 1e-3 * spread


def test_a_worker_is_told_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "lora.gguf").touch()
    settings = ModelSettings(
        id="m",
        kind="chat",
        kv_type="q8_0",
        parallel=3,
        lora=[Lora(source="file:lora.gguf", scale=0.5)],
    )
    placement = Placement(
        gpu_layers=7, gpus=(2, 0), split=(3.0, 1.0), context=512, kv_tokens=1024, parallel=3
    )
    lock, path = tmp_path / "cores", tmp_path / "m.gguf"
    spec = worker_spec(settings, path, tmp_path, tmp_path, placement, GPUS, lock)
    assert (spec.gpu_layers, spec.tensor_split) == (7, (3.0, 1.0))
    assert spec.devices == ("GPU-2", "GPU-0")
    assert (spec.context, spec.kv_tokens, spec.kv_type) == (512, 1024, "q8_0")
    assert spec.lora == ((str(tmp_path / "lora.gguf"), 0.5),)
    assert _visible(spec.devices) == {"CUDA_VISIBLE_DEVICES": "GPU-2,GPU-0"}


def test_a_worker_on_the_host_sees_no_gpu(tmp_path: Path) -> None:
    settings = ModelSettings(id="m", kind="chat")
    placement = Placement(context=512, kv_tokens=512, parallel=8)
    path = tmp_path / "m.gguf"
    spec = worker_spec(settings, path, tmp_path, tmp_path, placement, GPUS, path)
    assert (spec.gpu_layers, spec.devices) == (0, ())
    assert _visible(spec.devices) == {"CUDA_VISIBLE_DEVICES": ""}
    # Where NVML sees none there may still be one, of another maker.
    spec = worker_spec(settings, path, tmp_path, tmp_path, placement, (), path)
    assert (spec.gpu_layers, spec.devices) == (-1, None)
    assert _visible(spec.devices) == {}
