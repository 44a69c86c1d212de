import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from clients.evaluation.main import main
from tests.unit.clients.conftest import ENSEMBLE, USAGE, Gateway


def completion(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
        **more,
    }


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    rows = ["q1,How long?,36,['warranty']", "q2,How long again?,36,['warranty']", "q3,Who?,Ann,[]"]
    path.write_text("\n".join(["id,question,answer_value,ref_id", *rows]) + "\n")
    return path


def ran(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    main(["run", *map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_run_is_scored_and_written(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timings = {"queue_ms": 1.0, "retrieval_ms": 2.0, "prefill_ms": 3.0, "decode_ms": 4.0}
    gateway.says(completion("36 months [1]", ensemble=ENSEMBLE, timings=timings))
    argv = ["--model", "rag", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    found = ran(capsys, *argv, "--top-k", 3, "--members", "a,b", "--name", "first")
    assert found["score"]["value"] == pytest.approx(2 / 3)
    assert (found["questions"], found["errors"], found["completion_tokens"]) == (3, 0, 9)
    assert found["timings_ms"]["retrieval_ms"]["p50"] == 2.0
    assert gateway.bodies[0]["ensemble"] == {"members": ["a", "b"], "top_k": 3}
    asked = sorted(body["messages"][0]["content"] for body in gateway.bodies)
    assert asked == ["How long again?", "How long?", "Who?"]
    assert json.loads((tmp_path / "first" / "summary.json").read_text()) == found
    lines = (tmp_path / "first" / "results.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["ensemble"]["votes"][0]["model"] == "first"
    assert main(["score", str(questions), str(tmp_path / "first" / "submission.csv")]) == 0


def test_an_interrupted_run_goes_on(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.says(completion("36"))
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    ran(capsys, *argv)
    results = tmp_path / "m" / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text(lines[0] + lines[1] + lines[2][:20])  # the last line was cut off
    before = len(gateway.bodies)
    assert ran(capsys, *argv, "--concurrency", 1, "--retries", 0)["asked"] == 1
    assert len(gateway.bodies) == before + 1
    assert len(results.read_text().splitlines()) == 3
    results.write_text(results.read_text().rstrip("\n"))  # only the line's end was cut off
    assert ran(capsys, *argv)["asked"] == 0
    assert len(results.read_text().splitlines()) == 3
    assert main(["run", *map(str, argv), "--top-k", "9"]) == 1
    assert "--fresh" in capsys.readouterr().err
    assert (tmp_path / "m" / "submission.csv").is_file()  # refused: it is left as it was
    assert ran(capsys, *argv, "--top-k", 9, "--fresh")["asked"] == 3


def test_two_processes_do_not_ask_the_same(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    assert main(["run", *map(str, argv)]) == 1
    assert "another process" in capsys.readouterr().err
    assert gateway.bodies == []
    os.close(held)


@pytest.mark.parametrize(
    "told", [{"usage": None}, {"usage": {"prompt_tokens": "7"}, "timings": {"queue_ms": None}}]
)
def test_what_an_endpoint_does_not_tell_is_absent(
    gateway: Gateway,
    questions: Path,
    tmp_path: Path,
    told: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.says(completion("36", **{"timings": {"prompt_ms": 3.0}, **told}))
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    found = ran(capsys, *argv)
    names = ("prompt_tokens", "completion_tokens", "cost", "energy_wh")
    assert [found[name] for name in names] == [None] * 4 or found["gpus"]
    assert set(found["timings_ms"].values()) == {None}
    assert main(["run", *map(str, argv)]) == 0
    assert "tokens" not in capsys.readouterr().out


def test_what_fails_is_recorded_and_asked_again(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    gateway.says({"error": {"message": "No such model."}}, status=404)
    assert main(["run", *map(str, argv), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["errors"], found["score"]) == (3, None)
    assert not (tmp_path / "m" / "submission.csv").exists()
    allowed = ran(capsys, *argv, "--allow-errors")
    assert allowed["score"]["value"] == 0
    rows = (tmp_path / "m" / "submission.csv").read_text()
    assert rows.count("No such model.") == 3
    gateway.says(completion("36"))
    assert ran(capsys, *argv)["errors"] == 0


def test_an_endpoint_that_is_gone_leaves_no_submission(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gone.toml"
    config.write_text(f'model = "m"\nquestions = "{questions.name}"\nretries = 0\n')
    argv = ["run", "--config", str(config), "--url", "http://127.0.0.1:9", "--output"]
    assert main([*argv, str(tmp_path / "runs")]) == 1
    told = capsys.readouterr().err
    assert "Cannot reach" in told
    assert "goes on from there" in told
    assert not (tmp_path / "runs" / "gone" / "submission.csv").exists()


@pytest.mark.parametrize(
    ("content", "value", "documents"),
    [
        ('{"answer_value": 36, "ref_id": ["warranty"], "answer": "x"}', "36", "warranty"),
        ('```json\n{"answer_value": "36", "ref_id": "warranty"}\n```', "36", "warranty"),
        ("plain words", "plain words", None),
        ('{"answer_value": "is_blank"}', "", None),
    ],
)
def test_answers_of_plain_models(
    gateway: Gateway,
    questions: Path,
    tmp_path: Path,
    content: str,
    value: str,
    documents: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.says(completion(content))
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    ran(capsys, *argv)
    line = json.loads((tmp_path / "m" / "results.jsonl").read_text().splitlines()[0])
    assert line.get("is_blank", False) is (value == "")
    assert value in ("", line["answer_value"])
    assert line.get("ref_id", []) == ([documents] if documents else [])


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": {"content": 4}}]}])
def test_what_is_no_completion_is_an_error(
    gateway: Gateway,
    questions: Path,
    tmp_path: Path,
    body: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.says(body)
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    assert ran(capsys, *argv)["errors"] == 3
    line = json.loads((tmp_path / "m" / "results.jsonl").read_text().splitlines()[0])
    assert "no chat completion" in line["error"]


def test_smoke_and_all(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.says(completion("4"))
    assert main(["run", "--smoke", "--url", gateway.url]) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    gateway.says(completion(""))
    assert main(["run", "--smoke", "m", "--url", gateway.url]) == 1
    assert "the answer is empty" in capsys.readouterr().out
    thinking = completion("")
    thinking["choices"][0]["message"]["reasoning_content"] = "Two and two …"
    gateway.says(thinking)
    assert main(["run", "--smoke", "m", "--url", gateway.url]) == 0
    capsys.readouterr()
    gateway.model = {"id": "m", "kind": "embedding"}
    assert main(["run", "--smoke", "--url", gateway.url]) == 0
    assert "0 passed, 0 failed, 1 skipped" in capsys.readouterr().out
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "good.toml").write_text(f'model = "m"\nquestions = "{questions}"\n')
    (configs / "other.toml").write_text(f'model = "other"\nquestions = "{questions}"\n')
    gateway.says(completion("36"))
    argv = ["run", "--all", "--configs", str(configs), "--url", gateway.url]
    assert main([*argv, "--output", str(tmp_path / "runs"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["experiments"]
    assert found["good"]["passed"]
    assert "no 'other'" in found["other"]["why"]
    assert (tmp_path / "runs" / "good" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('modle = "m"', "modle"),
        ('model = "m"\nprompt = "x"', "{question}"),
        ('model = "m"\nconcurrency = 0', "concurrency"),
        ("model = ]", "line 1"),
    ],
)
def test_bad_settings_are_named(
    tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    assert main(["run", "--config", str(config)]) == 1
    message = capsys.readouterr().err
    assert str(config) in message
    assert told in message


@pytest.mark.parametrize("option", [["--concurrency", "0"], ["--retries", "21"]])
def test_numbers_out_of_range_are_named(
    questions: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--model", "m", "--questions", str(questions), *option]) == 1
    assert f"{option[0]} must be between" in capsys.readouterr().err


def test_an_empty_question_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "q.csv"
    path.write_text("id,question\nq1,Who?\nq2, \n")
    assert main(["run", "--model", "m", "--questions", str(path)]) == 1
    assert "row 2 (line 3), column 'question': the question is empty" in capsys.readouterr().err


def test_what_the_endpoint_says_of_the_model_is_kept(
    gateway: Gateway, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.says(completion('{"answer_value": "36", "ref_url": ["https://example.org/w"]}'))
    gateway.model = {
        "id": "m", "object": "model", "created": 1, "owned_by": "x", "name": "Model M",
        "provider": "upstream", "parameters": 7_250_000_000, "parameters_estimated": True,
        "notes": "a mixture",
    }  # fmt: skip
    argv = ["--model", "m", "--questions", questions, "--url", gateway.url, "--output", tmp_path]
    found = ran(capsys, *argv)
    told = {name: found[name] for name in ("display_name", "provider", "size_b", "notes")}
    assert told == {
        "display_name": "Model M", "provider": "upstream", "size_b": 7.25, "notes": "a mixture",
    }  # fmt: skip
    assert found["size_estimated"] is True
    assert found["energy_wh"] is None or found["gpus"]
    assert "https://example.org/w" in (tmp_path / "m" / "submission.csv").read_text()
    own = tmp_path / "own.toml"
    own.write_text(
        f'model = "m"\nquestions = "{questions}"\nsize_b = 8\nprovider = "local"\n'
        'display_name = "Mine"\n'
    )
    found = ran(capsys, "--config", own, "--url", gateway.url, "--output", tmp_path)
    assert (found["size_b"], found["size_estimated"]) == (8, False)
    assert (found["display_name"], found["provider"]) == ("Mine", "local")


def test_questions_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model", "m"]) == 1
    assert "--questions" in capsys.readouterr().err
