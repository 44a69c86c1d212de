"""The version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]


def _installed() -> str:
    try:
        return version("jurat")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"


VERSION = _installed()
