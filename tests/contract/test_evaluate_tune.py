"""`jurat evaluate tune` against a gateway: it asks, learns, and writes a file to be served."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from clients.evaluation import tuning
from clients.evaluation.main import main
from gateway.config_files import load_configuration
from models.engines.fake import FakeEngine
from models.types import ChatPrompt, GenerateRequest
from tests.contract.serving import serve, wait_ready

GADGETS = [f"{letter}{number}" for letter in "klmnpr" for number in range(2, 6)]
MEMBERS = {"knows": "Say what is right.", "errs": "Say anything.", "fails": "Say something."}


class Tuned(NamedTuple):
    url: str
    folder: Path
    questions: Path
    asked: list[str]


def heavy(gadget: str) -> str:
    return str(100 + GADGETS.index(gadget))


def reply(request: GenerateRequest) -> str:
    """One member reads the right figure off the passage, the others another one."""
    assert isinstance(request.prompt, ChatPrompt)
    text = "\n".join(str(message.content) for message in request.prompt.messages)
    gadget = re.findall(r"How heavy is gadget (\w+)", text)[-1]
    passage = re.search(rf"\[(\d+)\][^\[]*?gadget {gadget} weighs (\d+) grams, not (\d+)", text)
    number, right, wrong = passage.groups() if passage else ("1", "", "")
    value = right if MEMBERS["knows"] in text else wrong
    return json.dumps(
        {
            "answer_value": value,
            "answer_unit": "",
            "passages": [int(number)],
            "is_blank": not value,
            "answer": "",
            "explanation": "",
        }
    )


@pytest.fixture(autouse=True)
def one_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes as long as the next."""
    monkeypatch.setattr(tuning, "SHUFFLES", 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    folder = tmp_path_factory.mktemp("tune")
    for name in ("docs", "models", "ensembles"):
        (folder / name).mkdir()
    for gadget in GADGETS:
        text = f"The gadget {gadget} weighs {heavy(gadget)} grams, not {900 - int(heavy(gadget))}."
        (folder / "docs" / f"{gadget}.txt").write_text(f"{text}\n")
    (folder / "gateway.toml").write_text(
        '[retrieval]\nembedder = "fake"\n[[stores]]\nname = "docs"\npaths = ["docs"]\n'
    )
    (folder / "models" / "fake.toml").write_text('id = "fake"\nkind = "fake"\ncontext = 4096\n')
    members = "".join(
        f'[[members]]\nmodel = "fake"\nname = "{name}"\ninstruction = "{text}"\n'
        for name, text in MEMBERS.items()
    )
    (folder / "ensembles" / "panel.toml").write_text(
        f'id = "panel"\nstores = ["docs"]\ntop_k = 4\nscore_floor = 0.1\n{members}'
    )
    questions = folder / "questions.jsonl"
    rows: list[dict[str, Any]] = [
        {"id": name, "question": f"How heavy is gadget {name}?", "answers": [heavy(name)]}
        for name in GADGETS
    ]
    rows += [
        {"id": f"none{n}", "question": f"How heavy is gadget zz{n}?", "answers": []}
        for n in range(6)
    ]
    questions.write_text("\n".join(map(json.dumps, rows)))
    asked: list[str] = []

    def answer(request: GenerateRequest) -> str:
        asked.append(request.owner)
        return reply(request)

    found = load_configuration(
        folder / "gateway.toml", environment={"JURAT_DATA_DIR": str(folder / "state")}
    )
    engine = FakeEngine(reply=answer)
    with serve(found, {"fake": engine}) as url, httpx.Client(base_url=url, timeout=20) as http:
        wait_ready(http)
        yield Tuned(url, folder, questions, asked)


def tuned(served: Tuned, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    asked = ["tune", "--ensemble", "panel", "--questions", str(served.questions), *argv]
    asked += ["--config", str(served.folder / "gateway.toml"), "--url", served.url]
    asked += ["--output", str(served.folder / "runs"), "--rounds", "300", "--folds", "3", "--json"]
    assert main(asked) == 0
    return json.loads(capsys.readouterr().out)


def test_it_learns_whom_to_believe(served: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    found = tuned(served, capsys, "--top-k", "8")
    assert found["metric"] == "squad"
    assert found["worked_out"] == 1  # without a model, as the gateway with its models
    assert found["as_it_is"]["f1_answerable"] < 0.2
    assert found["tuned"]["f1_answerable"] > 0.8
    assert found["gain"]["verdict"] == "beats"
    assert found["settings"]["weights"]["changed_in"] == found["searches"]
    path = served.folder / "ensembles" / "panel-tuned.toml"
    assert found["file"] == str(path)
    written = load_configuration(served.folder / "gateway.toml", environment={}).ensembles
    members = {member.name: member for member in written["panel-tuned"].members}
    assert members["knows"].weight > members["errs"].weight + members["fails"].weight
    assert members["knows"].instruction == MEMBERS["knows"]
    assert written["panel-tuned"].stores == ("docs",)
    assert "Expected gain" in path.read_text()

    before = len(served.asked)
    assert before >= 2 * 3 * len(GADGETS)
    again = tuned(served, capsys, "--top-k", "8", "--force", "--folds", "2")
    assert again["as_it_is"] == found["as_it_is"]
    assert len(served.asked) == before  # what was answered is not asked again


def test_a_file_is_not_replaced_unasked(served: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(served.folder / "gateway.toml"), "--url", served.url]
    argv = ["tune", "--ensemble", "panel", "--questions", str(served.questions), *config]
    assert main([*argv, "--name", "panel"]) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*argv, "--name", "new", "--top-k", "many"]) == 1
    assert "--top-k" in capsys.readouterr().err
