"""What models are said to take, against workers that really run."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from models.inspect import inspect
from models.memory import estimate, sizes
from models.settings import ModelSettings
from models.sources import locate
from models.weigh import weigh
from models.worker_spec import worker_spec
from tests.real_models import SMOLLM2, gemma3_270m


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
async def test_a_worker_takes_what_was_estimated(name: str, tmp_path: Path) -> None:
    model: ModelSettings = replace(
        SMOLLM2 if name == "smollm2" else gemma3_270m(),
        context=2048,
        prefix_cache_mb=0,  # how much of it is filled is chance
        threads=1,
    )
    layout = inspect(model, Path())
    assert layout is not None
    placement = sizes(model, layout)
    lock = tmp_path / "cores"
    spec = worker_spec(model, locate(model, Path()), Path(), tmp_path, placement, (), lock)
    measured = await weigh(spec, tmp_path)
    expected = estimate(model, layout, placement).footprint
    assert expected.host == pytest.approx(measured, rel=0.1)
