"""Bytes of weights, caches and buffers, by llama.cpp's rules."""

import pytest
from msgspec.structs import replace

from models.errors import SourceError
from models.footprint import Device, Footprint, Machine
from models.gguf_file import read_layout
from models.layout import Layer, Layout, estimated
from models.memory import MIB, Limits, Placement, budget, estimate, fits, less, sizes
from models.settings import ModelSettings
from tests.real_models import SMOLLM2, smollm2_path
from tests.unit.models.shapes import SHAPE_8B

GIB = 1 << 30
CHAT = ModelSettings(id="m", kind="chat", source="hf:org/repo", context=8192, shape=SHAPE_8B)
WINDOWED = Layout(
    layers=tuple(Layer(weights=MIB, keys=256, values=256, windowed=at % 2 == 0) for at in range(4)),
    embedding=256,
    feed_forward=1024,
    vocabulary=1000,
    context=32768,
    window=512,
)


def kv(settings: ModelSettings, layout: Layout) -> int:
    return estimate(settings, layout, sizes(settings, layout)).host.kv


def test_the_cache_is_what_llama_cpp_says_of_it() -> None:
    layout = read_layout(smollm2_path())
    model = replace(SMOLLM2, kv_tokens=2048)
    assert kv(model, layout) == 45 * MIB  # llama_kv_cache: size = 45.00 MiB
    assert kv(replace(model, kv_type="q8_0"), layout) == 45 * MIB * 34 // 64
    assert kv(replace(model, kv_type="f32"), layout) == 90 * MIB
    assert kv(replace(model, kv_tokens=2049), layout) == 45 * MIB * 2304 // 2048  # by 256 cells


def test_a_window_saves_memory_only_where_nothing_is_shared() -> None:
    model = ModelSettings(id="m", kind="chat", context=8192, kv_tokens=8192)
    whole = kv(model, WINDOWED)
    assert whole == 4 * 8192 * 512 * 2
    # 9 sequences of 512 tokens and a batch of 512: 5,120 cells.
    assert kv(replace(model, share_prefixes=False), WINDOWED) == 2 * 512 * 2 * (8192 + 5120)


def test_a_recurrent_state_is_one_a_sequence_whatever_the_context() -> None:
    layers = (Layer(weights=MIB, state=1000),) * 4
    layout = Layout(layers=layers, vocabulary=1000, context=4096)
    model = ModelSettings(id="m", kind="chat", parallel=8)
    assert kv(model, layout) == kv(replace(model, context=128), layout) == 4 * 1000 * 9


def test_an_estimate_by_shape_is_that_of_the_published_file() -> None:
    # Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf has 4,920,739,232 bytes, the Q8_0 one 8,540,775,840.
    for quant, size in (("Q4_K_M", 4_920_739_232), ("Q8_0", 8_540_775_840)):
        layout = estimated(replace(CHAT, quant=quant))
        assert layout.weights == pytest.approx(size, rel=0.01)
    assert estimated(replace(CHAT, source="hf:org/repo:Q8_0")).quant == "Q8_0"
    assert kv(CHAT, estimated(CHAT)) == 2 * GIB  # 128 KiB a token, twice 8,192 of them


def test_parameters_are_counted_where_nobody_says_how_many() -> None:
    bare = replace(SHAPE_8B, parameters=None)
    assert estimated(replace(CHAT, shape=bare)).parameters == pytest.approx(8.03e9, rel=0.001)
    said = replace(CHAT, shape=bare, parameters_b=8.1)
    assert estimated(said).parameters == 8_100_000_000


def test_nothing_is_made_up() -> None:
    with pytest.raises(SourceError, match=r"no \[shape\]"):
        estimated(replace(CHAT, shape=None))
    with pytest.raises(SourceError, match=r"precision 'Q9_X'.*Known ones: F32"):
        estimated(replace(CHAT, quant="Q9_X"))


def test_layers_on_gpus_leave_the_host() -> None:
    layout = estimated(CHAT)
    on_host = sizes(CHAT, layout)
    none = estimate(CHAT, layout, on_host)
    all_of_it = replace(on_host, gpu_layers=33, gpus=(0, 1), split=(1.0, 1.0))
    both = estimate(CHAT, layout, all_of_it)
    assert both.host.weights == layout.input
    assert both.host.kv == 0
    moved = [both.devices[gpu].weights for gpu in (0, 1)]
    assert sum(moved) == layout.weights - layout.input
    assert sum(part.kv for part in both.devices.values()) == none.host.kv
    half = estimate(CHAT, layout, replace(on_host, gpu_layers=16, gpus=(0,)))
    # Of 33 the last 16 are moved, the output among them: 15 of 32 blocks' caches.
    assert half.devices[0].kv == none.host.kv * 15 // 32
    assert half.host.kv == none.host.kv * 17 // 32


def test_a_matrix_for_input_and_output_is_copied_to_the_gpu() -> None:
    layout = replace(WINDOWED, input=7 * MIB, tied=True)
    model = ModelSettings(id="m", kind="chat", context=512)
    placement = Placement(gpu_layers=5, gpus=(0,), context=512, kv_tokens=512, parallel=8)
    found = estimate(model, layout, placement)
    assert (found.host.weights, found.devices[0].weights) == (7 * MIB, 11 * MIB)


def test_the_budget_is_a_share_of_what_is_free_or_the_limit() -> None:
    gpus = tuple(
        Device(index=at, name="L4", uuid=f"GPU-{at}", total=24 * GIB, free=free * GIB)
        for at, free in enumerate((20, 10))
    )
    machine = Machine(cores=8, host_total=64 * GIB, host_free=40 * GIB, devices=gpus)
    share = budget(machine, 0.5, Limits())
    assert share == Footprint(host=20 * GIB, devices={0: 10 * GIB, 1: 5 * GIB})
    limited = budget(machine, 0.5, Limits(host=30 * GIB, device=15 * GIB))
    assert limited == Footprint(host=30 * GIB, devices={0: 15 * GIB, 1: 10 * GIB})
    assert budget(machine, 0.9, Limits(device=0)).devices == {}
    assert budget(machine, 0.9, Limits(host=99 * GIB)).host == 40 * GIB


def test_room_is_counted_in_every_memory() -> None:
    room = Footprint(host=10, devices={0: 5})
    assert fits(Footprint(host=10, devices={0: 5}), room)
    assert not fits(Footprint(host=11), room)
    assert not fits(Footprint(devices={1: 1}), room)
    left = less(room, Footprint(host=3, devices={0: 6}))
    assert left == Footprint(host=7, devices={0: -1})
