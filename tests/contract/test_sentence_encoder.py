"""The tokenizer of a sentence-transformers model, asked by two threads."""

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
