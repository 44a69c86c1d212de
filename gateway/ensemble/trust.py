"""What an ensemble has learnt of its members, from question to question and over restarts."""

import hashlib
import logging
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.ensemble.agreement import Agreement
from gateway.ensemble.settings import EnsembleSettings, labels
from gateway.ensemble.vote import Ballot

__all__ = ["Trust", "trust_file"]

log = logging.getLogger("jurat.ensemble")


class Trust:
    """Of one ensemble. It holds no questions and no answers, only how often members agreed.

    Kept in the file `path`, or nowhere. Not for several threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        """A file that cannot be read is begun anew."""
        self._path = path
        self._agreement = Agreement()
        try:
            if path is not None:
                self._agreement = msgspec.json.decode(path.read_bytes(), type=Agreement)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError, UnicodeError) as error:
            log.warning("%s: %s; what members' weights were learnt from is lost", path, error)

    def weighed(self, settings: EnsembleSettings) -> EnsembleSettings:
        """The settings with members that weigh what their file says, times what was learnt."""
        learnt = self._agreement.weights(_names(settings))
        members = zip(settings.members, learnt, strict=True)
        return replace(
            settings,
            members=tuple(
                replace(member, weight=float(f"{member.weight * weight:.4g}"))
                for member, weight in members
            ),
        )

    def learn(self, settings: EnsembleSettings, ballots: dict[int, Ballot]) -> None:
        """Take in one question's ballots, by the members' places."""
        names = _names(settings)
        if self._agreement.learn({names[place]: one for place, one in ballots.items()}):
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not synced: after a power cut the questions of the last seconds may be missing.
            draft.write_bytes(msgspec.json.encode(self._agreement))
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s: %s; learnt weights are not kept", self._path, error)


def trust_file(data_dir: Path, ensemble: str) -> Path:
    """Where a gateway keeps it; an id may have letters that no file name has."""
    return data_dir / "trust" / f"{hashlib.sha256(ensemble.encode()).hexdigest()[:32]}.json"


def _names(settings: EnsembleSettings) -> list[str]:
    """Members by what they are: one that has another model is another member."""
    called = labels(settings.members)
    return [
        f"{name}: {member.model}" for name, member in zip(called, settings.members, strict=True)
    ]
