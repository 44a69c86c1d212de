"""Shared by all tests. Nothing heavy is imported here."""

import os

import hypothesis
import pytest

from models.settings import ModelSettings

# Deadlines measure the machine, not the code.
hypothesis.settings.register_profile("jurat", deadline=None, print_blob=True)
hypothesis.settings.load_profile("jurat")

# Under pytest-xdist, each process and all that it starts have cores of their own: the threads of a
# model wait for each other by spinning, and would do so on cores that others need.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    place, workers = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, cores[place::workers] or cores)


@pytest.fixture(scope="session")
def gemma3() -> ModelSettings:
    """Gemma 3 270M, assembled."""
    from tests.real_models import gemma3_270m

    return gemma3_270m()
