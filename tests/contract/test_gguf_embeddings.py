"""How GGUF embedding models are pooled, and which are refused. Reference: sentence-transformers."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from models.errors import LoadFailed
from models.worker.llama_embedder import LlamaEncoder
from models.worker.messages import WorkerSpec
from tests.gguf_models import write_minilm

TEXTS = ("The router's light blinks red.", "Größe, naïve, 東京", "x")


def encoder(path: Path, **options: Any) -> LlamaEncoder:
    # Safe mode: a build that crashes on this processor would take the tests with it.
    spec = WorkerSpec(
        model="m", kind="embedding", path=str(path), threads=1, safe_mode=True, **options
    )
    return LlamaEncoder(spec)


def rows(model: LlamaEncoder) -> list[list[int]]:
    before, after = model.special
    return [[*before, *ids, *after] for ids in model.tokenize(TEXTS)]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """What the last layer of the reference says of each token of each text."""
    from sentence_transformers import SentenceTransformer

    from tests.real_models import minilm_path

    reference = SentenceTransformer(str(minilm_path()), device="cpu", local_files_only=True)
    found = reference.encode(list(TEXTS), output_value="token_embeddings")
    return [each.numpy() for each in found]


def likeness(found: np.ndarray, expected: np.ndarray) -> float:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / norms).min())


@pytest.mark.parametrize("pooling", [None, gguf.PoolingType.NONE, gguf.PoolingType.MEAN])
def test_the_mean_is_taken_where_nothing_else_is_said(
    tmp_path: Path, states: list[np.ndarray], pooling: gguf.PoolingType | None
) -> None:
    model = encoder(write_minilm(tmp_path / "m.gguf", pooling))
    expected = np.stack([each.mean(axis=0) for each in states])
    assert likeness(model.forward(rows(model)), expected) > 0.999


@pytest.mark.parametrize(("pooling", "at"), [("cls", 0), ("last", -1)])
def test_the_settings_may_pool_otherwise(
    tmp_path: Path, states: list[np.ndarray], pooling: str, at: int
) -> None:
    model = encoder(write_minilm(tmp_path / "m.gguf"), pooling=pooling)
    expected = np.stack([each[at] for each in states])
    assert likeness(model.forward(rows(model)), expected) > 0.999


@pytest.mark.parametrize(
    ("pooling", "at"), [(gguf.PoolingType.CLS, 0), (gguf.PoolingType.LAST, -1)]
)
def test_the_files_own_pooling_is_used(
    tmp_path: Path, states: list[np.ndarray], pooling: gguf.PoolingType, at: int
) -> None:
    model = encoder(write_minilm(tmp_path / "m.gguf", pooling))
    expected = np.stack([each[at] for each in states])
    assert likeness(model.forward(rows(model)), expected) > 0.999


def test_a_reranker_is_refused(tmp_path: Path) -> None:
    path = write_minilm(tmp_path / "m.gguf", gguf.PoolingType.RANK)
    with pytest.raises(LoadFailed, match="reranker"):
        encoder(path)


def test_what_spells_a_control_token_stays_text(tmp_path: Path) -> None:
    model = encoder(write_minilm(tmp_path / "m.gguf"))
    ids = model.tokenize(["[SEP]"])[0]
    assert set(ids).isdisjoint({*model.special[0], *model.special[1]})
    assert model.detokenize(ids, special=False).replace(" ", "") == "[sep]"


def test_it_reads_no_more_at_once_than_it_is_told(tmp_path: Path) -> None:
    path = write_minilm(tmp_path / "m.gguf")
    assert encoder(path).context == 256
    assert encoder(path, context=64).context == 64
    with pytest.raises(LoadFailed, match="context = 1000, but the model was trained for 256"):
        encoder(path, context=1000)
