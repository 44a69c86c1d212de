"""`jurat check-config`: read the whole configuration and say what it is, or what is wrong."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.auth import KeyRing, check_exposure
from gateway.config_files import load_configuration
from gateway.toml import ConfigError
from models.errors import NotDownloaded, SourceError
from models.inspect import inspect
from models.settings import ModelSettings
from models.sources import locate

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog="jurat check-config", description=__doc__)
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    keys = KeyRing(found.settings.auth.keys, found.settings.auth.admins)
    check_exposure(found.settings.server.host, keys)
    for model in found.models.values():
        if model.kind != "fake":
            _check_source(model, found.directory, found.data_dir)
    server = found.settings.server
    lines = [
        f"configuration  {found.source}",
        f"data           {found.data_dir}",
        f"listens on     {server.host}:{server.port}, {'with' if keys else 'without'} API keys",
        f"models         {', '.join(found.models) or 'none'}",
        f"ensembles      {', '.join(found.ensembles) or 'none'}",
        f"stores         {', '.join(store.name for store in found.settings.stores) or 'none'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _check_source(model: ModelSettings, directory: Path, data_dir: Path) -> None:
    try:
        locate(model, directory, data_dir)
        inspect(model, directory, data_dir)  # its header, and its adapters'
    except NotDownloaded:
        pass  # the configuration is right; what is missing is a download
    except SourceError as error:
        raise ConfigError(f"models.{model.id}: {error}") from error
