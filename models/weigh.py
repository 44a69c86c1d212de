"""What a worker really takes, to compare with the estimate. Starts one, and has it work."""

import tempfile
from pathlib import Path

from models.engines.local import LocalEngine
from models.engines.trials import Trials
from models.types import Constraint, EmbedRequest, GenerateRequest, Sampling, TextPrompt
from models.worker.messages import WorkerSpec

__all__ = ["weigh"]

TEXT = "All that is asked of it is read once. "
SCHEMA = '{"type": "object", "properties": {"answer": {"type": "string"}}}'
STOP_S = 10.0


async def weigh(spec: WorkerSpec, data_dir: Path) -> int:
    """Bytes resident in a worker that has filled in a JSON schema, or embedded.

    Its prompt is longer than a batch, so that it has touched all its buffers. Mapped weights
    count. On Linux only. Raises LoadFailed, and OSError elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="jurat-") as folder:
        engine = LocalEngine(spec, Path(folder), Trials(data_dir / "machine.json"))
        try:
            await engine.start()
            if spec.kind == "chat":
                await _generate(engine)
            elif spec.kind == "embedding":
                await _embed(engine)
            pid = engine.stats().pid
            return 0 if pid is None else _resident(pid)
        finally:
            await engine.stop(STOP_S)


async def _generate(engine: LocalEngine) -> None:
    request = GenerateRequest(
        prompt=TextPrompt(TEXT * 60),
        max_tokens=4,
        sampling=Sampling(temperature=0.0),
        constraint=Constraint("json_schema", SCHEMA),
    )
    async for _ in engine.generate(request):
        pass


async def _embed(engine: LocalEngine) -> None:
    await engine.embed(EmbedRequest(inputs=(TEXT * 25,) * 4))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
