"""The sample files of upstream models decode, and nothing in them is a file or a secret."""

from pathlib import Path

import pytest

from gateway.toml import read_toml
from models.registry import Registry
from models.settings import ModelSettings

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "configs" / "examples" / "upstream").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_is_a_model(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_toml(path, ModelSettings)
    assert found.upstream is not None
    key = found.upstream.api_key_env
    if key is not None:
        monkeypatch.delenv(key, raising=False)
    registry = Registry({found.id: found}, tmp_path)  # a key that is not set is no error
    engine = registry.get(found.id)
    await engine.start()
    stats = engine.stats()
    assert (stats.state, stats.context) == ("ready", found.context)
    assert key is None or key in stats.detail
    await registry.stop(1)


def test_every_server_has_an_example() -> None:
    expected = {"bedrock", "jurat", "llama-server", "openai", "openrouter", "slurm", "vllm"}
    assert {path.stem for path in EXAMPLES} == expected
    documented = (ROOT / "docs" / "upstreams.md").read_text()
    assert all(
        f"`{field}`" in documented or f"| `{field}`" in documented
        for field in type(read_toml(EXAMPLES[0], ModelSettings).upstream).__struct_fields__  # type: ignore[union-attr]
    )
