"""Where models go on machines of all kinds."""

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st
from msgspec.structs import replace

from models.errors import DoesNotFit, LoadFailed
from models.fit import fit
from models.footprint import Footprint, Machine
from models.layout import Layer, Layout, estimated
from models.memory import MIB, Limits, budget, fits
from models.settings import ModelSettings
from tests.unit.models.recorded_machines import BUSY, EIGHT_80, GIB, NO_GPU, ONE_24, TWO_48
from tests.unit.models.shapes import SHAPE_8B, SHAPE_72B

SMALL = ModelSettings(id="8b", kind="chat", source="hf:a/b", context=8192, shape=SHAPE_8B)
LARGE = ModelSettings(id="72b", kind="chat", source="hf:a/c", context=8192, shape=SHAPE_72B)


def room(machine: Machine, **limits: int) -> Footprint:
    return budget(machine, 0.9, Limits(**limits))


def test_without_a_gpu_all_is_on_the_host() -> None:
    found = fit(SMALL, estimated(SMALL), room(NO_GPU))
    assert found.placement.gpus == ()
    assert found.estimate.devices == {}
    assert found.reason == "on the processor: there is no GPU"
    assert (found.requests, found.whole) == (2, False)


def test_one_gpu_takes_all_of_what_fits() -> None:
    found = fit(SMALL, estimated(SMALL), room(ONE_24))
    assert (found.placement.gpus, found.placement.gpu_layers) == ((0,), 33)
    assert found.reason == "whole on GPU 0"
    assert found.whole


def test_of_a_model_too_large_for_a_gpu_as_many_layers_as_fit() -> None:
    found = fit(LARGE, estimated(LARGE), room(ONE_24))
    moved = found.placement.gpu_layers
    assert 20 < moved < 60
    assert found.reason.startswith(f"{moved} of 81 layers on GPU 0: no more fit")
    assert not found.whole
    more = replace(LARGE, gpu_layers=moved + 1)
    with pytest.raises(DoesNotFit, match=r"GPU 0 and may have .*gpu_layers = \"auto\""):
        fit(more, estimated(more), room(ONE_24))


def test_a_model_is_spread_where_no_single_gpu_has_room() -> None:
    found = fit(LARGE, estimated(LARGE), room(TWO_48))
    assert found.placement.gpus == (0, 1)
    assert found.reason == "whole on GPUs 0, 1: no single one has room for it"
    first, second = (part.weights for part in found.estimate.devices.values())
    assert first == pytest.approx(second, rel=0.05)


def test_of_many_gpus_one_is_enough() -> None:
    found = fit(LARGE, estimated(LARGE), room(EIGHT_80))
    assert len(found.placement.gpus) == 1
    precise = replace(LARGE, quant="F16")
    found = fit(precise, estimated(precise), room(EIGHT_80))
    assert len(found.placement.gpus) == 8


def test_a_busy_gpu_is_left_alone() -> None:
    found = fit(SMALL, estimated(SMALL), room(BUSY))
    assert found.placement.gpus == (1,)
    pinned = replace(SMALL, gpus=[0])
    found = fit(pinned, estimated(pinned), room(BUSY))
    assert found.placement.gpus == (0,)
    assert 0 < found.placement.gpu_layers < 33


def test_settings_are_obeyed() -> None:
    pinned = replace(SMALL, gpus=[3])
    assert fit(pinned, estimated(pinned), room(EIGHT_80)).placement.gpus == (3,)
    split = replace(SMALL, gpus=[5, 2], tensor_split=[3.0, 1.0])
    found = fit(split, estimated(split), room(EIGHT_80))
    assert (found.placement.gpus, found.placement.split) == ((5, 2), (3.0, 1.0))
    assert found.estimate.devices[5].weights > 2 * found.estimate.devices[2].weights
    host = replace(SMALL, gpu_layers=0)
    assert fit(host, estimated(host), room(ONE_24)).reason == "on the processor: as set"
    some = replace(SMALL, gpu_layers=10)
    assert fit(some, estimated(some), room(ONE_24)).reason == "10 of 33 layers on GPU 0, as set"


def test_gpus_that_are_not_there() -> None:
    for settings, machine, message in (
        (replace(SMALL, gpus=[2]), TWO_48, "gpus names GPU 2; there are GPUs 0, 1"),
        (replace(SMALL, gpus=[0]), NO_GPU, "gpus names GPU 0; there is none"),
        (replace(SMALL, tensor_split=[1.0, 1.0]), ONE_24, "tensor_split has 2 parts for GPU 0"),
    ):
        with pytest.raises(DoesNotFit, match=message):
            fit(settings, estimated(settings), room(machine))


def test_a_context_nobody_set_is_what_fits() -> None:
    model = replace(SMALL, context=None, quant="Q8_0")
    found = fit(model, estimated(model), room(ONE_24))
    assert found.whole
    assert found.placement.context == 65536
    assert "context 65536: of the 131072 it was trained for, no more fit" in found.reason


def test_a_context_above_what_it_was_trained_for_is_refused_with_the_numbers() -> None:
    asked = replace(SMALL, context=200_000)
    with pytest.raises(LoadFailed, match=r"'8b' .*context = 200000.*131072 tokens") as caught:
        fit(asked, estimated(asked), room(TWO_48))
    assert asked.source in str(caught.value)
    assert SMALL.shape is not None
    unknown = replace(asked, shape=replace(SMALL.shape, context=None))
    assert fit(unknown, estimated(unknown), room(TWO_48)).placement.context == 200_000


def test_a_cache_nobody_set_is_smaller_where_it_must_be() -> None:
    model = replace(SMALL, prefix_cache_mb=0)
    found = fit(model, estimated(model), Footprint(host=int(6.3 * GIB)))
    assert found.placement.kv_tokens == 8192
    assert found.requests == 1
    assert "a cache of 8192 tokens: 16384 do not fit" in found.reason


def test_what_does_not_fit_is_told_with_numbers_and_a_way_out() -> None:
    with pytest.raises(DoesNotFit) as raised:
        fit(SMALL, estimated(SMALL), Footprint(host=5 * GIB))
    text = str(raised.value)
    assert "'8b' takes 6.3 GiB (weights 4.6 GiB, KV cache 1.0 GiB" in text
    assert "of the host's memory and may have 5.0 GiB. It would fit with" in text
    assert "the precision Q2_K" in text
    hopeless = Footprint(host=100 * MIB)
    with pytest.raises(DoesNotFit, match="No smaller context, cache or precision of it fits"):
        fit(SMALL, estimated(SMALL), hopeless)


def test_where_no_single_setting_would_do_several_are_named() -> None:
    least = replace(SMALL, quant="Q2_K")  # no smaller precision
    does = replace(least, context=2048, kv_type="q8_0", prefix_cache_mb=0)
    tight = Footprint(host=fit(does, estimated(does), room(NO_GPU)).estimate.host.total)
    with pytest.raises(
        DoesNotFit,
        match=r'fit with context = \d+ and kv_type = "q8_0" and prefix_cache_mb = 0 together',
    ) as raised:
        fit(least, estimated(least), tight)
    context = int(str(raised.value).rpartition("context = ")[2].split()[0])
    assert context >= 2048
    fit(replace(does, context=context), estimated(does), tight)


def test_remedies_do_what_they_say() -> None:
    tight = Footprint(host=int(5.9 * GIB))
    with pytest.raises(DoesNotFit, match=r"with context = 4096 .*or prefix_cache_mb = 0"):
        fit(SMALL, estimated(SMALL), tight)
    for remedy in (
        replace(SMALL, context=4096),
        replace(SMALL, kv_type="q8_0"),
        replace(SMALL, prefix_cache_mb=0),
    ):
        assert fits(fit(remedy, estimated(remedy), tight).estimate.footprint, tight)


def test_of_a_cache_that_was_set_too_large_that_is_what_is_said() -> None:
    large = replace(SMALL, kv_tokens=2_000_000)
    with pytest.raises(DoesNotFit, match=r"It would fit with no kv_tokens\.") as raised:
        fit(large, estimated(large), Footprint(host=7 * GIB))
    assert "context =" not in str(raised.value)
    with pytest.raises(DoesNotFit, match="context = 4096 and no kv_tokens"):
        fit(large, estimated(large), Footprint(host=int(5.9 * GIB)))


def test_embedders_in_folders_are_weighed_too() -> None:
    model = ModelSettings(id="e", kind="embedding")
    layout = Layout(folder=True, input=400 * MIB)
    assert fit(model, layout, room(NO_GPU)).estimate.host.weights == 400 * MIB
    assert fit(model, layout, room(ONE_24)).placement.gpus == (0,)


LAYOUTS = st.builds(
    lambda layers, weights, keys, windowed, vocabulary, tied: Layout(
        layers=tuple(
            Layer(weights=weights * MIB, keys=keys, values=keys, windowed=windowed and at % 2 == 0)
            for at in range(layers)
        ),
        input=weights * MIB,
        output=weights * MIB,
        tied=tied,
        embedding=4096,
        feed_forward=14336,
        vocabulary=vocabulary,
        context=32768,
        window=1024,
        quant="Q8_0",
    ),
    st.integers(1, 90),
    st.integers(0, 900),
    st.sampled_from([0, 256, 1024, 8192]),
    st.booleans(),
    st.sampled_from([1000, 32000, 262144]),
    st.booleans(),
)
ROOMS = st.builds(
    lambda host, devices: Footprint(
        host=host * MIB, devices={at: size * MIB for at, size in enumerate(devices)}
    ),
    st.integers(0, 200_000),
    st.lists(st.integers(-100, 80_000), max_size=4),
)
SETTINGS = st.builds(
    lambda context, layers, kv, share, kv_type: ModelSettings(
        id="m",
        kind="chat",
        context=context,
        gpu_layers=layers,
        kv=kv,
        share_prefixes=share,
        kv_type=kv_type,
    ),
    st.sampled_from([None, 512, 4096, 32768]),
    st.one_of(st.just("auto"), st.integers(-1, 100)),
    st.sampled_from(["unified", "split"]),
    st.booleans(),
    st.sampled_from(["f16", "q8_0"]),
)


@limited(max_examples=50)
@given(settings=SETTINGS, layout=LAYOUTS, available=ROOMS)
def test_no_plan_exceeds_the_room(
    settings: ModelSettings, layout: Layout, available: Footprint
) -> None:
    try:
        found = fit(settings, layout, available)
    except DoesNotFit as refusal:
        assert "'m'" in str(refusal)  # noqa: PT017 - either is right
        return
    assert fits(found.estimate.footprint, available)
    assert found.placement.kv_tokens >= found.placement.context
    assert found.placement.gpu_layers <= len(layout.layers) + 1
    devices = found.estimate.devices.values()
    outside = layout.input if layout.tied and found.placement.gpu_layers else 0
    weights = found.estimate.host.weights + sum(part.weights for part in devices)
    assert weights == layout.weights + outside
