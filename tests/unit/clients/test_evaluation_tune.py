"""`jurat evaluate tune` over recorded runs, and the file that it writes."""

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.api import ClientError
from clients.evaluation import tuning
from clients.evaluation.main import main
from clients.evaluation.tuned_file import read_configuration, settings_of, toml_of, write
from gateway.ensemble.settings import EnsembleSettings, Member

QUESTIONS = 40
HEAD = ["id", "question", "answer_value", "ref_id"]


@pytest.fixture(autouse=True)
def one_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes as long as the next."""
    monkeypatch.setattr(tuning, "SHUFFLES", 1)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    for name in ("models", "ensembles"):
        (folder / name).mkdir(parents=True)
    (folder / "gateway.toml").write_text('[retrieval]\nembedder = "good"\n')
    for name in ("good", "bad", "worse"):
        (folder / "models" / f"{name}.toml").write_text(f'id = "{name}"\nkind = "fake"\n')
    (folder / "ensembles" / "panel.toml").write_text(
        'id = "panel"\ntop_k = 3\n[[members]]\nmodel = "good"\ninstruction = "Say \\"it\\"."\n'
    )
    return folder / "gateway.toml"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return recorded_as(tmp_path / "truth.csv", lambda n: str(100 + n))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two members agree on what is wrong, so that only weights can help the one that is right."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    recorded_as(folder / "good.csv", lambda n: str(100 + n))
    recorded_as(folder / "bad.csv", lambda n: str(500 + n if n % 5 else 100 + n))
    recorded_as(folder / "worse.csv", lambda n: str(500 + n if n % 5 else 100 + n))
    return folder


def recorded_as(path: Path, value: Any) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(HEAD)
        for n in range(QUESTIONS):
            csv.writer(file).writerow([f"q{n}", f"How many of {n}?", value(n), "['a']"])
    return path


def argv_of(truth: Path, recorded: Path, configs: Path) -> list[str]:
    argv = ["tune", "--recorded", str(recorded), "--questions", str(truth), "--folds", "2"]
    return [*argv, "--ensemble", "panel", "--config", str(configs), "--rounds", "300"]


def test_weights_of_recorded_runs(
    truth: Path, recorded: Path, configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = argv_of(truth, recorded, configs)
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gain"]["verdict"] == "beats"
    assert found["tuned"]["value"] == 1
    assert set(found["settings"]) == {"weights", "confidence_floor"}
    written = settings_of(read_configuration(configs), "panel-tuned")
    weights = {member.model: member.weight for member in written.members}
    assert weights["good"] > weights["bad"] + weights["worse"]
    assert written.top_k == 3
    assert main(argv) == 1  # it is there now
    assert "--force" in capsys.readouterr().err


def test_no_gain_is_said_and_nothing_written(
    truth: Path,
    recorded: Path,
    configs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("bad", "worse"):
        (recorded / f"{name}.csv").write_bytes((recorded / "good.csv").read_bytes())
    assert main(argv_of(truth, recorded, configs)) == 0
    told = capsys.readouterr().out
    assert "No gain is shown: overall +0.000 (+0.000 to +0.000)" in told
    assert "Nothing is written." in told
    assert [path.name for path in (configs.parent / "ensembles").iterdir()] == ["panel.toml"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--ensemble", "pannel"], "panel"),
        (["--folds", "1"], "--folds"),
        (["--strategy", "grounded"], "--corpus"),
        (["--strategy", "confidence"], "confidence"),
        (["--top-k", "3"], "--top-k"),
        (["--name", "../up"], "--name"),
        (["--objective", "luck"], "na_recall"),
    ],
)
def test_what_is_wrong_is_named(
    truth: Path,
    recorded: Path,
    configs: Path,
    more: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*argv_of(truth, recorded, configs), *more]) == 1
    assert told in capsys.readouterr().err


def test_an_ensemble_that_a_gateway_could_not_serve_is_not_kept(
    truth: Path, recorded: Path, configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recorded / "good.csv").rename(recorded / "stranger.csv")
    assert main(argv_of(truth, recorded, configs)) == 1
    assert "no model 'stranger'" in capsys.readouterr().err
    assert not (configs.parent / "ensembles" / "panel-tuned.toml").exists()


def test_a_file_that_is_not_what_was_meant_is_put_back(configs: Path) -> None:
    found = read_configuration(configs)
    path = configs.parent / "ensembles" / "panel.toml"
    before = path.read_bytes()
    with pytest.raises(ClientError, match="not kept"):
        write(found, settings_of(found, "panel"), path, {"top_k": 7}, ["It is like itself."])
    assert path.read_bytes() == before


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)


@given(texts, st.floats(0, 1), st.lists(texts, min_size=1, max_size=3))
def test_a_file_says_what_was_learnt(text: str, number: float, instructions: list[str]) -> None:
    members = tuple(
        Member(model="m", name=f"n{at}", instruction=one, weight=number + 0.1, seed=at)
        for at, one in enumerate(instructions)
    )
    changes = {"confidence_floor": number, "calibration": {"bias": number}, "members": members}
    table = tomllib.loads(
        toml_of("new", "old", ["A note.", "Another."], changes | {"decline": f"x{text}"})
    )
    assert table.pop("like") == "old"
    found = msgspec.convert(table, EnsembleSettings)
    assert (found.members, found.confidence_floor) == (members, number)
    assert found.calibration == {"bias": number}
    assert found.decline == f"x{text}"
