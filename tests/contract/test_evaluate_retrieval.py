"""`jurat evaluate retrieval` against a gateway: its figures, and that it leaves nothing behind."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from clients.evaluation.main import main
from tests.contract.serving import configuration, serve, wait_ready

FACTS = {
    "lamp": "The lamp of the router is blue.",
    "paper": "The printer takes 1,250 sheets of paper.",
    "battery": "The battery of the laptop lasts nine hours.",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(configuration(tmp_path_factory.mktemp("evaluate"))) as served:
        with httpx.Client(base_url=served, timeout=20) as http:
            wait_ready(http)
        yield served


@pytest.fixture(autouse=True)
def nothing_is_left(url: str) -> Iterator[None]:
    yield
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [store.name for store in client.vector_stores.list()] == []
        assert list(client.files.list()) == []


def test_a_collection(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels").mkdir()
    lines = [json.dumps({"_id": name, "text": text}) for name, text in FACTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join([*lines, '{"_id": "none", "text": ""}']))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "sheets of paper"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("q\tpaper\t1\nq\tlamp\t1\n")
    drop = tmp_path / "drop.tsv"
    drop.write_text("q\tlamp\t-1\n")
    asked = ["retrieval", str(tmp_path), "--drop", str(drop), "--url", url, "--k", "3"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["hybrid", "vector", "keyword"]
    assert found["keyword"] == {"ndcg@3": 1.0, "recall@3": 1.0, "mrr@3": 1.0}
    assert main([*asked, "--mode", "keyword"]) == 0
    assert "1.000" in capsys.readouterr().out


def test_documents_and_questions(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in FACTS.items():
        (folder / f"{name}.txt").write_text(text)
    questions = tmp_path / "questions.csv"
    questions.write_text(
        "question,answer_value,ref_id\n"
        "How many sheets of paper does the printer take?,1250,['paper']\n"
        "How long does the battery last?,nine years,['battery.txt']\n"
        "Who made it?,is_blank,is_blank\n"
    )
    asked = ["--documents", str(folder), "--questions", str(questions), "--k", "1", "--k", "2"]
    assert main(["retrieval", *asked, "--mode", "keyword", "--url", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first = {"document@1": 1.0, "answer@1": 0.5, "whole_answer@1": 0.5}
    second = {"document@2": 1.0, "answer@2": 0.5, "whole_answer@2": 0.5}
    assert found == {"keyword": {**first, **second, "questions": 2}}


def test_what_is_wrong_is_said_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrieval", str(tmp_path), "--url", url]) == 1
    assert "corpus.jsonl" in capsys.readouterr().err
    assert main(["retrieval", "--url", url]) == 1
