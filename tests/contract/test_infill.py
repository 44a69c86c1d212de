"""`suffix`: a model that has tokens for it fills in between two texts."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Completion

from models.settings import ModelSettings
from tests.contract.conftest import Gateway, running
from tests.contract.serving import configuration
from tests.tiny_models import VOCABULARY, write_infilling, write_windowed

BEFORE, AFTER = "def total(", "\n    return"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One model that has the tokens, and one that has not."""
    folder = tmp_path_factory.mktemp("infill")
    write_infilling(folder / "fills.gguf")
    write_windowed(folder / "plain.gguf", window=0)
    models = [
        ModelSettings(
            id=name, kind="chat", source=f"file:{folder}/{name}.gguf", context=128, threads=1
        )
        for name in ("fills", "plain")
    ]
    with running(configuration(folder, models=["fake", *models]), "fills", "fake", 32) as found:
        yield found


def test_the_prompt_is_both_texts_and_the_tokens_around_them(gateway: Gateway) -> None:
    given: Any = {"model": "fills", "prompt": BEFORE, "max_tokens": 4, "temperature": 0}
    create = gateway.client.completions.create
    found: Completion = create(**given, suffix=AFTER)
    assert found.usage is not None
    before, after, middle = range(VOCABULARY, VOCABULARY + 3)

    def tokens(text: str) -> list[int]:
        body = {"model": "fills", "content": text, "add_special": False}
        return gateway.http.post("/tokenize", json=body).json()["tokens"]

    spelled = [1, before, *tokens(BEFORE), after, *tokens(AFTER), middle]
    assert found.usage.prompt_tokens == len(spelled)
    same: Completion = create(**given | {"prompt": spelled})
    assert same.choices[0].text == found.choices[0].text


def test_a_model_without_the_tokens_is_named(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="The model 'plain' cannot fill in") as raised:
        gateway.client.completions.create(model="plain", prompt=BEFORE, suffix=AFTER)
    assert raised.value.param == "suffix"


def test_token_ids_have_no_suffix(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="'suffix' needs a 'prompt' of text") as raised:
        gateway.client.completions.create(model="fills", prompt=[5], suffix=AFTER)
    assert raised.value.param == "suffix"
