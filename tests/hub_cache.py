"""The hub's client in this process, pointed at a hub and a cache of a test's own."""

import random
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import constants

from models.downloads import pull
from models.hub import Hub
from models.hub_names import Reference, parse
from models.pull_events import Progress, Pulled
from tests.hub_server import FakeHub

__all__ = ["Cache", "content", "use_hub"]


class Cache(NamedTuple):
    """A data folder and a hub's cache."""

    data_dir: Path
    hub_dir: Path

    def pull(self, reference: str | Reference, token: str = "", **options: object) -> Pulled:
        events = self.events(reference, token, **options)
        assert isinstance(events[-1], Pulled)
        return events[-1]

    def events(
        self, reference: str | Reference, token: str = "", **options: object
    ) -> list[Progress | Pulled]:
        found = parse(reference) if isinstance(reference, str) else reference
        with closing(pull(found, self.data_dir, Hub(token), **options)) as events:  # type: ignore[arg-type]
            return list(events)

    def blobs(self) -> list[Path]:
        return sorted(path for path in self.hub_dir.rglob("blobs/*") if path.is_file())

    def environment(self, hub: FakeHub) -> Mapping[str, str]:
        """For another process."""
        return {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(self.hub_dir),
            "HF_HOME": str(self.hub_dir.parent),
            "JURAT_DATA_DIR": str(self.data_dir),
        }


def use_hub(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The client reads its environment when it is imported, so its constants are replaced."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return Cache(folder / "state", folder / "cache" / "hub")


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that tell at which place they stand."""
    return random.Random(seed).randbytes(size)
