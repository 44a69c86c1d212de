"""Shared by all tests. Nothing heavy is imported here."""

import hypothesis
import pytest

from models.settings import ModelSettings

# Deadlines measure the machine, not the code.
hypothesis.settings.register_profile("jurat", deadline=None, print_blob=True)
hypothesis.settings.load_profile("jurat")


@pytest.fixture(scope="session")
def gemma3() -> ModelSettings:
    """Gemma 3 270M, assembled."""
    from tests.real_models import gemma3_270m

    return gemma3_270m()
