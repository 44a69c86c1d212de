"""A vote of two real models of different architectures and tokenizers, over real documents."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import openai
import pytest
from msgspec.structs import replace

from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.settings import StoreSettings
from models.settings import ModelSettings
from tests.contract.serving import configuration, serve, wait_ready
from tests.real_models import MINILM, SMOLLM2

QUESTION: list[Any] = [{"role": "user", "content": "How many seconds is the reset button held?"}]
DOCUMENT = """# Router

The reset button of the router is held for 12 seconds. The lamp is blue while the router starts.
"""
CONTEXT = 512


class Served(NamedTuple):
    client: openai.OpenAI
    http: httpx.Client
    models: tuple[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, gemma3: ModelSettings) -> Iterator[Served]:
    small = {"context": CONTEXT, "kv_tokens": CONTEXT, "small": True}
    first, second = replace(SMOLLM2, **small), replace(gemma3, **small)
    embedder = replace(MINILM, threads=1)
    found = configuration(tmp_path_factory.mktemp("across"), models=(embedder, first, second))
    (found.directory / "docs").mkdir()
    (found.directory / "docs" / "router.md").write_text(DOCUMENT)
    panel = EnsembleSettings(
        id="panel",
        members=(
            Member(model=first.id, temperature=0.0),
            Member(model=second.id, temperature=0.0),
        ),
        stores=("docs",),
        score_floor=0.2,
    )
    found = msgspec.structs.replace(
        found,
        settings=msgspec.structs.replace(
            found.settings, stores=[StoreSettings(name="docs", paths=["docs"])]
        ),
        ensembles={"panel": panel},
    )
    with (
        serve(found) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        wait_ready(http)
        yield Served(client, http, (first.id, second.id))


def test_two_models_vote_on_one_value(served: Served) -> None:
    found = served.client.chat.completions.create(model="panel", messages=QUESTION)
    report: Any = (found.model_extra or {})["ensemble"]
    assert [vote["model"] for vote in report["votes"]] == list(served.models)
    assert all(vote["error"] is None for vote in report["votes"])
    # Each could only copy words of the one passage, in tokens of its own.
    assert all(vote["grounded"] for vote in report["votes"] if not vote["is_blank"])
    assert report["votes"][0]["answer_value"]
    assert not report["is_blank"]
    assert report["ref_id"] == ["router"]
    assert "12 seconds" in (found.choices[0].message.content or "")
    assert found.usage is not None
    assert found.usage.completion_tokens > 0


def test_an_ensemble_object_makes_a_plain_model_an_ensemble_of_one(served: Served) -> None:
    for model in served.models:
        found = served.client.chat.completions.create(
            model=model,
            messages=QUESTION,
            extra_body={"ensemble": {"vector_store_ids": ["docs"]}},
        )
        report: Any = (found.model_extra or {})["ensemble"]
        assert [vote["model"] for vote in report["votes"]] == [model]
        assert report["ref_id"] == ["router"]


def test_members_can_be_chosen_for_one_request(served: Served) -> None:
    found = served.client.chat.completions.create(
        model="panel",
        messages=QUESTION,
        extra_body={"ensemble": {"members": [served.models[1], served.models[0]]}},
    )
    report: Any = (found.model_extra or {})["ensemble"]
    assert [vote["model"] for vote in report["votes"]] == [served.models[1], served.models[0]]
