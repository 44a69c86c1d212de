"""A model of random weights loads, tokenises any text, and generates in the real loop."""

import json
from pathlib import Path

import numpy as np
import pytest

from clients.bench.random_gguf import Kind, Shape, main, tokens_and_merges, write
from models.errors import ModelError
from models.types import ChatPrompt, GenerateRequest, Message, Sampling
from models.worker import messages
from models.worker.generation import GenerationLoop
from models.worker.llama import Llama, Rows
from models.worker.measure import main as bench_engine
from models.worker.native_time import timed
from models.worker.rounds import LoopRunner, bare_round, open_bare, prompts_of

TINY = Shape(layers=2, embd=64, heads=4, kv_heads=2, ff=96, vocab=700, context=512)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write(path, TINY, "q8_0")
    return path


def spec(path: Path) -> messages.WorkerSpec:
    return messages.WorkerSpec(
        model="tiny",
        kind="chat",
        path=str(path),
        threads=1,
        context=128,
        kv_tokens=512,
        parallel=3,
        prefix_cache_mb=8,
    )


@pytest.mark.parametrize("count", [258, 700, 66_000, 128_256])
def test_a_vocabulary_has_every_byte_and_nothing_twice(count: int) -> None:
    tokens, merges = tokens_and_merges(count)
    assert len(tokens) == len(set(tokens)) == count
    assert len({token for token in tokens if len(token) == 1}) == 256
    assert len(merges) == count - 258
    assert {merge.replace(" ", "") for merge in merges} == set(tokens[256:-2])


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (Shape(embd=100), "--embd"),
        (Shape(heads=7), "--heads"),
        (Shape(embd=96, heads=32), "even"),
        (Shape(vocab=257), "--vocab"),
    ],
)
def test_a_shape_that_llama_cpp_would_refuse_is_refused(
    shape: Shape, named: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=named):
        write(tmp_path / "a.gguf", shape, "q8_0")
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize("kind", ["q8_0", "f16"])
def test_it_loads_and_any_text_survives_its_tokenizer(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write(path, TINY, kind)
    llama = Llama(
        path, context=128, kv_tokens=128, sequences=1, threads=1, gpu_layers=0, safe_mode=False
    )
    assert llama.vocabulary == TINY.vocab
    assert len(llama.end_tokens) == 1
    text = "Straße ✓ 日本 x"
    tokens = llama.tokenize(text, add_special=False, parse_special=False)
    assert b"".join(map(llama.piece, tokens)).decode() == text
    assert llama.decode([Rows(0, 0, tokens, True)]) == 0
    logits = llama.logits(1)
    assert np.isfinite(logits).all()
    assert logits.std() > 0


def test_the_loop_generates_from_it(tiny: Path) -> None:
    sent: list[messages.FromWorker] = []
    loop = GenerationLoop(spec(tiny), sent.append)
    loop.probe()
    prompt = ChatPrompt((Message("user", "Hello"),))
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    loop.generate(messages.Generate(1, GenerateRequest(prompt, 5, sampling)))
    while loop.busy:
        loop.step()
    last = sent[-1]
    assert isinstance(last, messages.Step)
    end = last.deltas[0][1].end
    assert end is not None
    assert (end.reason, end.usage.completion_tokens) == ("length", 5)


def test_the_loop_and_the_bare_loop_do_the_same_work(tiny: Path) -> None:
    loop, bare = LoopRunner(spec(tiny)), open_bare(spec(tiny))
    prompts = prompts_of("a", 3, 20, TINY.vocab)
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    ours, theirs = loop.round(prompts, 8, sampling), bare_round(bare, prompts, 8)
    assert ours.tokens == theirs.tokens == 24
    assert theirs.decode_tokens == 21
    assert 0 < ours.decode_tokens <= 21
    assert ours.decode_tokens % 3 == 0
    for each in (ours, theirs):
        assert 0 < each.first < each.whole
        assert 0 < each.decode < each.whole


def test_native_time_is_part_of_the_steps_and_is_unhooked(tiny: Path) -> None:
    loop = LoopRunner(spec(tiny))
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    with timed() as native:
        found = loop.round(prompts_of("b", 2, 20, TINY.vocab), 12, sampling, native=native)
    assert 0 < found.native < found.decode
    until = native.seconds
    loop.round(prompts_of("c", 2, 20, TINY.vocab), 4, sampling)
    assert native.seconds == until


def test_a_bare_loop_out_of_cells_says_so(tiny: Path) -> None:
    bare = open_bare(spec(tiny))
    with pytest.raises(ModelError, match="status 1"):
        bare_round(bare, prompts_of("d", 3, 200, TINY.vocab), 2)


# llguidance asks llama_cpp for its vocabulary by a name that this one calls old.
@pytest.mark.filterwarnings("ignore:llama_token_get_attr is deprecated")
def test_bench_engine_prints_every_figure(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--batch", "1,2", "--rounds", "2", "--tokens", "24", "--prompt", "12"]
    given = [f"file:{tiny}", *few, "--prefix-cache-mb", "1", "--gpu-layers", "0", "--json"]
    assert bench_engine(given) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    names = [(figure["name"].partition(",")[0], figure["batch"]) for figure in figures]
    assert names == [
        *((name, batch) for batch in (1, 2) for name in ("decode", "whole", "first")),
        *(("share", batch) for batch in (1, 2) for _ in range(3)),
        ("decode", 2),
    ]
    assert all(len(figure["values"]) == 2 for figure in figures)
    assert all(0 < share < 100 for f in figures[6:12] for share in f["values"])


def test_bench_engine_names_the_file_it_cannot_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_engine(["file:/nowhere.gguf"]) == 1
    assert "/nowhere.gguf" in capsys.readouterr().err


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--layers", "1", "--embd", "32", "--heads", "2", "--kv-heads", "1", "--ff", "32"]
    assert main([str(tmp_path / "a.gguf"), *shape, "--vocab", "258"]) == 0
    assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"
    assert main([str(tmp_path / "b.gguf"), *shape, "--vocab", "3"]) == 1
    assert "--vocab" in capsys.readouterr().err
