"""What stays in memory together, and how ensembles run."""

from models.errors import SourceError
from models.footprint import Footprint
from models.layout import Layer, Layout
from models.memory import MIB, Limits, budget
from models.plan import Plan, make_plan
from models.settings import ModelSettings
from tests.unit.models.recorded_machines import BUSY, GIB, NO_GPU, ONE_24, TWO_48

EMBEDDER = ModelSettings(id="embedder", kind="embedding", gpu_layers=0)
FOLDER = Layout(folder=True, input=100 * MIB)


def chat(name: str, **fields: object) -> ModelSettings:
    return ModelSettings(id=name, kind="chat", context=4096, prefix_cache_mb=0, **fields)  # type: ignore[arg-type]


def layout(gib: float, *, estimated: bool = False) -> Layout:
    layers = (Layer(weights=int(gib * GIB / 32), keys=1024, values=1024),) * 32
    return Layout(
        layers=layers, vocabulary=32000, embedding=4096, context=8192, estimated=estimated
    )


def plan(room: Footprint, *models: tuple[str, float], **pins: bool) -> Plan:
    """Of an ensemble of all of these, and an embedder."""
    return make_plan(
        {
            "embedder": EMBEDDER,
            **{name: chat(name, pin=pins.get(name, False)) for name, _ in models},
        },
        {"embedder": FOLDER, **{name: layout(size) for name, size in models}},
        {"all": [name for name, _ in models]},
        ["embedder"],
        room,
    )


def test_one_model_is_one_batch() -> None:
    found = plan(Footprint(host=32 * GIB), ("a", 4)).ensembles["all"]
    assert (found.execution, found.waves) == ("parallel", (("a",),))


def test_on_cores_models_stay_and_take_turns() -> None:
    found = plan(budget(NO_GPU, 0.9, Limits()), ("a", 4), ("b", 8))
    ensemble = found.ensembles["all"]
    assert (ensemble.execution, ensemble.waves) == ("sequential", (("a",), ("b",)))
    assert "one after the other is faster" in ensemble.reason
    assert ensemble.beside == ()
    assert all(one.resident for one in found.models.values())


def test_what_does_not_fit_beside_the_others_is_swapped() -> None:
    found = plan(Footprint(host=12 * GIB), ("a", 4), ("b", 8))
    ensemble = found.ensembles["all"]
    assert (ensemble.execution, ensemble.waves) == ("swapped", (("a",), ("b",)))
    assert "do not fit beside b" in ensemble.reason
    assert [found.models[name].resident for name in ("embedder", "a", "b")] == [True, True, False]
    assert found.models["b"].fit is not None


def test_models_on_gpus_run_at_once() -> None:
    one = plan(budget(ONE_24, 0.9, Limits()), ("a", 6), ("b", 6))
    assert one.ensembles["all"].execution == "parallel"
    assert (one.ensembles["all"].waves, one.ensembles["all"].beside) == ((), ("a", "b"))
    assert all(each.fit and each.fit.whole for each in one.models.values() if each.layout != FOLDER)
    two = plan(budget(TWO_48, 0.9, Limits()), ("a", 6), ("b", 6))
    assert two.ensembles["all"].execution == "parallel"
    gpus = [two.models[name].fit.placement.gpus for name in ("a", "b")]  # type: ignore[union-attr]
    assert sorted(gpus) == [(0,), (1,)]


def test_a_model_that_the_others_would_drive_off_the_gpu_is_swapped() -> None:
    found = plan(budget(BUSY, 0.9, Limits()), ("a", 12), ("b", 12))
    assert found.ensembles["all"].execution == "swapped"
    assert [found.models[name].resident for name in ("a", "b")] == [True, False]


def test_a_pinned_model_takes_its_room_from_the_others() -> None:
    room = Footprint(host=12 * GIB)
    assert plan(room, ("a", 8), ("b", 4)).models["a"].resident
    both = plan(Footprint(host=32 * GIB), ("a", 8), ("b", 4), b=True)
    assert both.ensembles["all"].waves == (("a",), ("b",))
    pinned = plan(room, ("a", 8), ("b", 4), b=True)
    assert pinned.models["a"].error.startswith("The model 'a' takes 8.")
    assert pinned.ensembles["all"].execution == "swapped"


def test_models_elsewhere_and_models_unknown() -> None:
    models = {name: chat(name) for name in ("far", "here", "broken", "wanted")}
    found = make_plan(
        models,
        {
            "here": layout(2),
            "broken": SourceError("broken.gguf is truncated"),
            "wanted": layout(2, estimated=True),
        },
        {
            "mixed": ["far", "here"],
            "fails": ["here", "broken", "far"],
            "later": ["here", "wanted"],
        },
        [],
        Footprint(host=6 * GIB),
    )
    assert found.ensembles["mixed"].waves == (("here",),)
    assert found.ensembles["mixed"].beside == ("far",)
    assert found.ensembles["mixed"].execution == "parallel"
    assert found.ensembles["fails"].reason == "broken: broken.gguf is truncated"
    assert found.ensembles["fails"].waves == (("here",), ("broken",))
    assert found.ensembles["fails"].beside == ("far",)
    assert found.models["broken"].error == "broken.gguf is truncated"
    assert found.models["far"].resident
    assert found.models["wanted"].fit is not None
    assert not found.models["wanted"].resident  # it takes nobody's place before it is here
