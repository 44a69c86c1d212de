"""What a model's settings refuse, and another precision of a model."""

import msgspec
import pytest

from models.errors import InvalidRequest
from models.settings import ModelSettings, at_precision


def settings(**fields: object) -> ModelSettings:
    return msgspec.convert({"id": "m", "kind": "chat", **fields}, ModelSettings)


@pytest.mark.parametrize(
    "source", ["hf:org/repo", "hf:org/repo:Q8_0", "hf:org/repo/model-Q8_0.gguf"]
)
def test_another_precision_is_a_model_of_its_own(source: str) -> None:
    found = at_precision(settings(source=source, aliases=["n"], preload=True), "q4_k_m")
    assert (found.id, found.source, found.quant) == ("m:Q4_K_M", "hf:org/repo", "Q4_K_M")
    assert (found.aliases, found.preload) == ([], False)


@pytest.mark.parametrize("source", ["package:llm/model.gguf", "file:model.gguf", "hf:repo"])
def test_one_file_has_one_precision(source: str) -> None:
    with pytest.raises(InvalidRequest, match=r"'m' comes from .*one precision") as raised:
        at_precision(settings(source=source), "Q8_0")
    assert raised.value.param == "model"


@pytest.mark.parametrize("quant", ["", "Q4 K", "../x", "Q" * 40, "-q"])
def test_what_is_no_precision(quant: str) -> None:
    with pytest.raises(InvalidRequest, match="is no precision"):
        at_precision(settings(source="hf:org/repo"), quant)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quant": "Q4/K"}, "quant: 'Q4/K'"),
        ({"gpus": []}, "gpus names each GPU once, and one at least"),
        ({"gpus": [1, 1]}, "gpus names each GPU once"),
        ({"tensor_split": [0, 0]}, "must not sum to zero"),
        ({"tensor_split": [1, 1], "gpus": [0]}, "2 parts for 1 gpus"),
        ({"gpu_layers": "all"}, "gpu_layers"),
        ({"gpu_layers": -2}, "gpu_layers"),
        ({"kv_type": "q3"}, "kv_type"),
        ({"shape": {"layers": 1}}, "embedding"),
        ({"shape": {"layers": 10**20}}, r"shape\.layers"),
        ({"max_waiting": 10**20}, "max_waiting"),
        ({"parameters_b": float("inf")}, "parameters_b"),
        ({"idle_timeout_s": float("inf")}, "idle_timeout_s"),
        ({"lora": [{"source": "file:a", "scale": float("nan")}]}, "scale"),
        ({"upstream": {"input_cost": float("inf")}}, r"upstream\.input_cost"),
        ({"lora": [{"source": "file:a", "weight": 1}]}, "weight"),
    ],
)
def test_settings_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        settings(**fields)


def test_layers_are_a_number_or_the_plans_choice() -> None:
    assert settings().gpu_layers == "auto"
    assert settings(gpu_layers=-1).gpu_layers == -1
