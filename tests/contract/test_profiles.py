"""The shipped configuration: every file decodes, and a profile says what is to be fetched first."""

import time
from pathlib import Path

import httpx
import pytest

from gateway.config_files import load_configuration
from models.engines.fake import FakeEngine
from models.hub_names import parse
from models.layout import estimated, parameters_of
from models.settings import ModelSettings, Shape
from tests.contract.serving import serve

CONFIGS = Path(__file__).parents[2] / "configs"
PROFILES = ("embedded", "cpu", "gpu-8gb", "gpu-24gb", "gpu-80gb")
# Examples are to be copied and filled in, experiments are of `jurat evaluate`.
OTHERS = {CONFIGS / "examples", CONFIGS / "experiments"}
FILES = sorted(path for path in CONFIGS.rglob("*.toml") if OTHERS.isdisjoint(path.parents))
MODELS = load_configuration(CONFIGS / "gateway.toml", environment={}).models
AT_A_HUB = [model for model in MODELS.values() if model.source.startswith("hf:")]
GENERATING = [model for model in AT_A_HUB if model.kind == "chat"]
NORMS = 0.001  # of the parameters, which the count below leaves out


def test_every_shipped_file_is_read_by_a_profile() -> None:
    read: set[Path] = set()
    for profile in CONFIGS.glob("gateway*.toml"):
        found = load_configuration(profile, environment={})
        folders = (found.settings.models.directory, found.settings.ensembles.directory)
        read |= {profile, *(file for one in folders for file in (CONFIGS / one).glob("*.toml"))}
    assert [path for path in FILES if path not in read] == []
    assert {f"gateway.{name}.toml" for name in PROFILES} <= {path.name for path in read}


def test_a_models_file_has_its_id_for_a_name() -> None:
    assert {path.stem for path in (CONFIGS / "models").glob("*.toml")} == set(MODELS)


@pytest.mark.parametrize("model", AT_A_HUB, ids=lambda model: model.id)
def test_a_model_at_a_hub_can_be_pulled_and_estimated(model: ModelSettings) -> None:
    parse(model.source, model)
    assert model.name
    assert model.parameters_b
    assert model.parameters_b == pytest.approx((parameters_of(model) or 0) / 1e9, rel=0.02)
    if model.source.endswith("-GGUF"):
        assert model.quant
        assert estimated(model).weights > 0


def count(shape: Shape) -> int:
    """Parameters of the attention, of gated feed-forward networks and of the vocabulary."""
    head = shape.head_dim or shape.embedding // shape.heads
    attention = 2 * shape.embedding * head * (shape.heads + (shape.kv_heads or shape.heads))
    network = 3 * shape.embedding * (shape.feed_forward or 0) * (shape.experts or 1)
    matrices = 1 if shape.tied_embeddings else 2
    return shape.layers * (attention + network) + matrices * shape.vocabulary * shape.embedding


@pytest.mark.parametrize("model", GENERATING, ids=lambda model: model.id)
def test_a_shape_has_as_many_parameters_as_it_says(model: ModelSettings) -> None:
    assert model.shape is not None
    assert model.shape.parameters == pytest.approx(count(model.shape), rel=NORMS)
    assert model.context is not None
    assert model.context <= (model.shape.context or 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_an_ensemble_and_says_what_it_needs(profile: str) -> None:
    found = load_configuration(CONFIGS / f"gateway.{profile}.toml", environment={})
    assert "rag-ensemble" in found.ensembles
    text = (CONFIGS / f"gateway.{profile}.toml").read_text()
    for member in found.ensembles["rag-ensemble"].models:
        assert (f"jurat pull {member}" in text) == (profile != "embedded")


def wait_filled(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while http.get("/health").json()["stores"]["handbook"]["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # it has no event to wait for but asking


def test_an_ensemble_says_which_models_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    environment = {"JURAT_DATA_DIR": str(tmp_path / "state")}
    found = load_configuration(CONFIGS / "gateway.cpu.toml", environment=environment)
    members = found.ensembles["rag-ensemble"].models
    # Whether it says so is asked of the ensemble; the models that ship load beside it.
    engines = {name: FakeEngine(context=512) for name in ("all-minilm-l6-v2", "smollm2-135m")}
    with serve(found, engines) as url, httpx.Client(base_url=url, timeout=60) as http:
        wait_filled(http)
        told = http.get("/health").json()["ensembles"]["rag-ensemble"]
        body = {"model": "rag-ensemble", "messages": [{"role": "user", "content": "What?"}]}
        answer = http.post("/v1/chat/completions", json=body | {"ensemble": {"top_k": 1}})
        listed = [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert told["state"] == "failed"
    for member in members:
        assert f"jurat pull {member}" in told["detail"]
        assert member not in listed
    assert answer.status_code == 503, answer.text
    assert f"jurat pull {members[0]}" in answer.json()["error"]["message"]
