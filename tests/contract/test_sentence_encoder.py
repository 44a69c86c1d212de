"""A sentence-transformers model as the worker runs it: its tokenizer and its vectors."""

import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.real_models import minilm_path


def test_short_texts_are_tokenised_while_a_long_one_is() -> None:
    from models.worker.embedder import SentenceEncoder

    encoder = SentenceEncoder(minilm_path(), threads=1)
    separator = encoder.special[1]
    text = "Größe [SEP] 東京 a word " * 5000
    alone = encoder.tokenize([text])[0]
    with ThreadPoolExecutor(1) as thread:
        beside = thread.submit(encoder.tokenize, [text])
        while not beside.done():
            # Whether a text may spell special tokens is a switch inside the tokenizer.
            assert encoder.tokenize(["[SEP]"], parse_special=True) == [separator]
            assert len(encoder.tokenize(["[SEP]"], parse_special=False)[0]) > 1
        assert beside.result() == [alone]
    assert alone.count(separator[0]) == 5000


def test_the_settings_may_pool_otherwise() -> None:
    from models.worker.embedder import SentenceEncoder

    encoder = SentenceEncoder(minilm_path(), threads=1, pooling="cls")
    before, after = encoder.special
    row = [*before, *encoder.tokenize(["a red light"])[0], *after]
    states = encoder._model.encode(  # pyright: ignore[reportPrivateUsage]
        "a red light", output_value="token_embeddings"
    )
    first = states[0].numpy() / np.linalg.norm(states[0].numpy())
    assert encoder.forward([row])[0] == pytest.approx(first, abs=1e-5)


def test_packed_layers_give_the_librarys_own_vectors() -> None:
    from sentence_transformers import SentenceTransformer

    from models.worker.embedder import SentenceEncoder

    texts = ["a red light", "Größe und 東京", "", "the same sentence again and again. " * 30]
    library = SentenceTransformer(
        str(minilm_path()), device="cpu", local_files_only=True, trust_remote_code=False
    )
    expected = library.encode(texts, normalize_embeddings=True)
    encoder = SentenceEncoder(minilm_path(), threads=1)
    before, after = encoder.special
    rows = [[*before, *ids, *after] for ids in encoder.tokenize(texts)]
    assert encoder.forward(rows) == pytest.approx(expected, abs=1e-6)
    for row, vector in zip(rows, expected, strict=True):
        assert encoder.forward([row])[0] == pytest.approx(vector, abs=1e-6)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="x86 only")
def test_single_precision_layers_are_packed_and_no_others() -> None:
    from models.worker.packed import pack_linear_layers, torch

    plain, half, bare = (
        torch.nn.Linear(8, 4),
        torch.nn.Linear(8, 4, dtype=torch.bfloat16),
        torch.nn.Linear(8, 4, bias=False),
    )
    rows = torch.arange(48, dtype=torch.float32).reshape(2, 3, 8) / 48
    with torch.inference_mode():
        expected = [plain(rows).numpy(), half(rows.bfloat16()).float().numpy(), bare(rows).numpy()]
        model = torch.nn.ModuleList([plain, half, bare])
        assert pack_linear_layers(model) == 2
        found = [plain(rows).numpy(), half(rows.bfloat16()).float().numpy(), bare(rows).numpy()]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
