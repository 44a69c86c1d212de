"""A vote of two real models of different architectures and tokenizers, over real documents."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import openai
import psutil
import pytest
from msgspec.structs import replace

from gateway.config_files import Configuration
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.settings import StoreSettings
from models.fit import fit
from models.footprint import Footprint
from models.inspect import inspect
from models.memory import MIB
from models.settings import ModelSettings
from tests.contract.serving import configuration, serve, wait_ready, wait_until
from tests.real_models import MINILM, SMOLLM2

QUESTION: list[Any] = [{"role": "user", "content": "How many seconds is the reset button held?"}]
DOCUMENT = """# Router

The reset button of the router is held for 12 seconds. The lamp is blue while the router starts.
"""
# Two documents that say two things of one kind, so that samples of one model disagree.
ABOUT = "The reset button of the {name} is held for {seconds} seconds."
PAIR = {"modem": 12, "switch": 20}
CONTEXT = 512


class Served(NamedTuple):
    client: openai.OpenAI
    http: httpx.Client
    models: tuple[str, str]


def panel_of(folder: Path, embedder: ModelSettings | str, gemma3: ModelSettings) -> Configuration:
    """An ensemble of two models and the documents it reads."""
    small = {"context": CONTEXT, "kv_tokens": CONTEXT, "small": True, "prefix_cache_mb": 16}
    first, second = replace(SMOLLM2, **small), replace(gemma3, **small)
    found = configuration(folder, models=(embedder, first, second))
    (found.directory / "docs").mkdir()
    (found.directory / "docs" / "router.md").write_text(DOCUMENT)
    (found.directory / "pair").mkdir()
    for name, seconds in PAIR.items():
        text = ABOUT.format(name=name, seconds=seconds)
        (found.directory / "pair" / f"{name}.md").write_text(text)
    panel = EnsembleSettings(
        id="panel",
        members=(
            Member(model=first.id, temperature=0.0),
            Member(model=second.id, temperature=0.0),
        ),
        stores=("docs",),
        score_floor=0.2,
    )
    hot = EnsembleSettings(
        id="hot",
        members=tuple(Member(model=first.id, name=f"m{n}", temperature=2.0) for n in range(9)),
        stores=("pair",),
        score_floor=0.2,
        excerpt_margin=0.0,
        early_stop=False,
    )
    stores = [StoreSettings(name=name, paths=[name]) for name in ("docs", "pair")]
    return msgspec.structs.replace(
        found,
        settings=msgspec.structs.replace(found.settings, stores=stores),
        ensembles={
            "panel": panel,
            "hot": hot,
            "hot-union": replace(hot, id="hot-union", references="union"),
        },
    )


@contextmanager
def serving(found: Configuration) -> Iterator[Served]:
    with (
        serve(found) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        wait_ready(http)
        yield Served(client, http, found.ensembles["panel"].models)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, gemma3: ModelSettings) -> Iterator[Served]:
    embedder = replace(MINILM, threads=1)
    with serving(panel_of(tmp_path_factory.mktemp("across"), embedder, gemma3)) as found:
        yield found


def states(served: Served) -> dict[str, str]:
    health = served.http.get("/health").json()["models"]
    return {name: health[name]["state"] for name in served.models}


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
    assert report["execution"] == "sequential"  # both in memory, on the same cores
    assert set(states(served).values()) == {"ready"}
    assert "12 seconds" in (found.choices[0].message.content or "")
    assert found.usage is not None
    assert found.usage.completion_tokens > 0


def test_references_are_the_winners_documents_or_those_of_every_vote(served: Served) -> None:
    asked: dict[str, Any] = {"messages": QUESTION, "seed": 1}
    reports: list[Any] = []
    for model in ("hot", "hot-union"):
        found = served.client.chat.completions.create(model=model, **asked)
        reports.append((found.model_extra or {})["ensemble"])
    for report in reports:
        documents = {ref for vote in report["votes"] for ref in vote["ref_id"]}
        assert documents == set(PAIR), "the samples were to disagree"
    winners, union = (report["ref_id"] for report in reports)
    assert len(winners) == 1
    assert set(union) == set(PAIR)


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


def needed_mb(model: ModelSettings, folder: Path) -> int:
    """What the plan gives it."""
    layout = inspect(model, folder, folder)
    assert layout is not None
    return fit(model, layout, Footprint(host=1 << 50)).estimate.footprint.host // MIB + 1


def workers() -> set[psutil.Process]:
    """The processes that have a GGUF file mapped."""
    found: set[psutil.Process] = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if any(entry.path.endswith(".gguf") for entry in process.memory_maps()):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.timeout(600)  # four loads of real models
def test_where_only_one_model_fits_the_members_are_swapped(
    tmp_path: Path, gemma3: ModelSettings
) -> None:
    found = panel_of(tmp_path, "fake", gemma3)
    needs = [needed_mb(found.models[name], tmp_path) for name in found.ensembles["panel"].models]
    limit = msgspec.structs.replace(found.settings.models, host_memory_mb=max(needs))
    settings = msgspec.structs.replace(found.settings, models=limit)
    before = workers()
    with serving(msgspec.structs.replace(found, settings=settings)) as served:
        first, second = served.models
        assert states(served) == {first: "ready", second: "unloaded"}
        for _ in range(2):
            answer = served.client.chat.completions.create(model="panel", messages=QUESTION)
            report: Any = (answer.model_extra or {})["ensemble"]
            assert report["execution"] == "swapped"
            assert [vote["error"] for vote in report["votes"]] == [None, None]
            assert report["ref_id"] == ["router"]
            assert "12 seconds" in (answer.choices[0].message.content or "")
            assert sorted(states(served).values()) == ["ready", "unloaded"]
        # The one that was there went first, so two questions took two loads besides the first.
        metrics = served.http.get("/metrics").text
        assert f'jurat_model_loads_total{{model="{first}"}} 2.0' in metrics
        assert f'jurat_model_loads_total{{model="{second}"}} 1.0' in metrics
        assert served.http.get("/health").json()["ensembles"]["panel"]["execution"] == "swapped"
        # Unloading ends the process, and so its memory is back.
        (process,) = workers() - before
        assert process.memory_info().rss > 50e6
        served.http.post("/models/unload", json={"model": "panel"})
        wait_until(lambda: not process.is_running())
        assert workers() == before
