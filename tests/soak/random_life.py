"""`make test-soak`: a thousand random steps with real workers, and models of random weights.

Not a test_*.py, so that `make test` leaves it out. JURAT_TEST_STEPS and JURAT_TEST_SEED ask for
more steps, and for others.
"""

import asyncio
import os
import tempfile
from pathlib import Path

import psutil
import pytest

from models.fit import Fit
from models.footprint import Footprint
from models.memory import Estimate, Part, Placement
from models.registry import Registry, ResidencyLimits
from models.settings import ModelSettings
from tests.random_life import Life, children, leftovers
from tests.tiny_models import CONTEXT, write_hybrid, write_recurrent, write_windowed

STEPS = int(os.environ.get("JURAT_TEST_STEPS", "1000"))
SEED = int(os.environ.get("JURAT_TEST_SEED", "4"))
PLACED = Fit(
    placement=Placement(context=CONTEXT, kv_tokens=CONTEXT, parallel=2),
    estimate=Estimate(host=Part(weights=10)),
    reason="",
    whole=False,
)


@pytest.mark.timeout(3600)
async def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    catalog: dict[str, ModelSettings] = {}
    kinds = {"windowed": write_windowed, "recurrent": write_recurrent, "hybrid": write_hybrid}
    for name, write in kinds.items():
        write(tmp_path / f"{name}.gguf")
        source = f"file:{tmp_path / name}.gguf"
        idle_s = 0.5 if name == "hybrid" else None
        catalog[name] = ModelSettings(
            id=name, kind="chat", source=source, threads=1, parallel=2, idle_timeout_s=idle_s
        )
    before, descriptors = children(), psutil.Process().num_fds()
    own = psutil.Process().memory_info().rss
    limits = ResidencyLimits(budget=Footprint(host=20), min_residency_s=1)
    registry = Registry(catalog, tmp_path / "state", limits=limits, place=lambda _: PLACED)
    await registry.start()
    life = Life(registry, catalog, seed=SEED, crash=False)  # they are killed instead
    await life.run(STEPS)
    assert life.answered > STEPS / 3
    await registry.stop(10)
    assert leftovers(temporary, before) == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert psutil.Process().num_fds() <= descriptors + 16
    assert psutil.Process().memory_info().rss < own + 100e6  # nothing of them is in the gateway
