"""What rates pairs: a cross-encoder's folder and the same weights in GGUF. They are random."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.engines.upstream import UpstreamEngine
from models.errors import LoadFailed
from models.settings import ModelSettings
from models.types import RerankRequest
from models.upstream_settings import UpstreamSettings
from models.worker.embedder import CrossEncoderScorer
from models.worker.llama_embedder import LlamaEncoder
from models.worker.llama_reranker import LlamaScorer
from models.worker.messages import WorkerSpec
from models.worker.reranking import PairScorer
from models.worker.windows import Window
from tests.gguf_models import write_bert, write_cross_encoder, write_minilm
from tests.llama_server import llama_server

QUERY = "who won?"
DOCUMENTS = ("a red fox", "the crow won.", "", "x", "no. it was a turtle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("rerank") / "model")


@pytest.fixture(scope="module")
def one_kind(folder: Path) -> Path:
    """The same, but the second text looks like the first: llama.cpp makes no difference."""
    other = folder.with_name("one-kind")
    other.mkdir()
    for each in folder.iterdir():
        (other / each.name).write_bytes(each.read_bytes())
    weights = load_file(folder / "model.safetensors")
    kinds = weights["bert.embeddings.token_type_embeddings.weight"]
    kinds[1] = kinds[0]
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    return other


def spec(path: Path, **options: Any) -> WorkerSpec:
    # Safe mode: a build that crashes on this processor would take the tests with it.
    return WorkerSpec(
        model="m", kind="rerank", path=str(path), threads=1, safe_mode=True, **options
    )


def scores(scorer: PairScorer, documents: tuple[str, ...] = DOCUMENTS) -> np.ndarray:
    query, *texts = scorer.tokenize([QUERY, *documents])
    pairs = [scorer.pair(query, text) for text in texts]
    assert all(len(pair) == len(query) + len(text) + scorer.overhead
               for (pair, _), text in zip(pairs, texts, strict=True))  # fmt: skip
    return scorer.score([Window(0, at, *pair) for at, pair in enumerate(pairs)])


def test_a_folders_scores_are_the_librarys_own(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    reference = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    expected = reference.predict([(QUERY, text) for text in DOCUMENTS])
    scorer = CrossEncoderScorer(folder, 1)
    assert scorer.context == 64
    found = scores(scorer)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found.max() - found.min() > 0.01, "a test of equal numbers"
    for text, score in zip(DOCUMENTS, found, strict=True):
        assert scores(scorer, (text,))[0] == pytest.approx(score, abs=1e-5)


def test_gguf_gives_what_the_folder_gives(one_kind: Path, tmp_path: Path) -> None:
    path = write_bert(tmp_path / "rank.gguf", one_kind, gguf.PoolingType.RANK, 2)
    scorer = LlamaScorer(spec(path))
    found = scores(scorer)
    assert scorer.context == 64
    # float32 against llama.cpp's kernels, which round activations to half precision.
    assert found == pytest.approx(scores(CrossEncoderScorer(one_kind, 1)), abs=0.01)
    assert found.max() - found.min() > 0.05, "a test of equal numbers"


def test_what_is_no_reranker_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="no reranker"):
        LlamaScorer(spec(write_minilm(tmp_path / "embedder.gguf", layers=1)))
    rank = write_bert(tmp_path / "rank.gguf", folder, gguf.PoolingType.RANK, 2)
    with pytest.raises(LoadFailed, match='kind is "rerank"'):
        LlamaEncoder(spec(rank))
    with pytest.raises(LoadFailed, match="nothing-here"):
        CrossEncoderScorer(tmp_path / "nothing-here", 1)


async def test_llama_servers_logits_become_the_same_scores(one_kind: Path, tmp_path: Path) -> None:
    path = write_bert(tmp_path / "rank.gguf", one_kind, gguf.PoolingType.RANK, 2)
    scorer = LlamaScorer(spec(path))
    query, *texts = scorer.tokenize([QUERY, *DOCUMENTS])
    pairs = [scorer.pair(query, text) for text in texts]
    # llama-server leaves out BERT's last mark.
    expected = scorer.score([Window(0, 0, pair[:-1], second) for pair, second in pairs])
    with llama_server(path, rank=True) as url:
        settings = UpstreamSettings(server="llama-server", retries=0)
        model = ModelSettings(id="far", kind="rerank", upstream=settings)
        engine = UpstreamEngine(model, f"{url}/v1")
        found = await engine.rerank(RerankRequest(QUERY, DOCUMENTS))
        await engine.stop(5)
    assert found.scores == pytest.approx(expected.tolist(), abs=0.01)
    assert found.tokens == sum(len(pair) - 1 for pair, _ in pairs)
