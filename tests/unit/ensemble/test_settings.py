import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.ensemble.plan import Plan, plan, slowest
from gateway.ensemble.settings import (
    EnsembleSettings,
    Example,
    Member,
    Prompts,
    labels,
    single,
)
from gateway.schema.ensemble import EnsembleOverride
from models.types import Timings

CONFIGS = Path(__file__).parents[3] / "configs"


def read(text: str) -> EnsembleSettings:
    return msgspec.convert(tomllib.loads(text), EnsembleSettings)


def test_the_shipped_ensemble_decodes() -> None:
    settings = read((CONFIGS / "ensembles" / "rag-ensemble.toml").read_text())
    assert settings.id == "rag-ensemble"
    assert len(settings.members) == 3
    assert settings.models == ("smollm2-135m",)
    assert settings.stores == ("handbook",)
    for example in settings.examples:
        assert example.value in example.passage


MEMBER = 'id = "e"\n[[members]]\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('id = "e"\nmembers = []', "members must not be empty"),
        ('id = "e"', "members"),
        (MEMBER + "weight = -1", "members[0].weight"),
        (MEMBER + "weight = inf", "members[0].weight"),  # of which no share can be told
        (MEMBER + "weight = 0", "weights must not sum to zero"),
        ('tools_member = "x"\n' + MEMBER, "tools_member: there is no 'x'"),
        (MEMBER + "temperature = 3", "members[0].temperature"),
        (MEMBER + 'colour = "red"', "colour"),
        (MEMBER + 'name = "a"\n[[members]]\nmodel = "m"\nname = "a"', "'a'"),
        (MEMBER + '[prompts]\nuser = "{question}"', "{passages}"),
        (MEMBER + '[prompts]\nuser = "{question} {passages}"', "before"),
        (MEMBER + '[prompts]\npassage = "{n} {text} {page}"', "{page}"),
        (MEMBER + '[prompts]\npassage = "{n} {text} {"', "prompts.passage"),
        (MEMBER + '[prompts]\nsystem = "{n}"', "prompts.system"),
        (MEMBER + '[prompts]\npassage = "{n!r} {text}"', "prompts.passage"),
    ],
)
def test_mistakes_name_the_field(text: str, says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r".*") as caught:
        read(text)
    assert says in str(caught.value)


def test_votes_have_names_of_their_own() -> None:
    members = (
        Member(model="a"),
        Member(model="a", name="b"),
        Member(model="a"),
        Member(model="b"),
        Member(model="b", name="a#3"),
        Member(model="a"),
    )
    assert labels(members) == ("a", "b", "a#2", "b#2", "a#3", "a#4")


def test_a_plain_model_as_an_ensemble_of_one() -> None:
    base = read((CONFIGS / "ensembles" / "rag-ensemble.toml").read_text())
    alone = single("m", base)
    assert (alone.id, alone.models, alone.stores) == ("m", ("m",), base.stores)
    assert single("m").models == ("m",)


def test_members_on_one_model_run_at_once_and_models_take_turns() -> None:
    assert plan(["a", "a"]).execution == "parallel"
    assert plan(["a", "a"]).waves == ((0, 1),)
    assert plan(["a", "b", "a"]).execution == "sequential"
    assert plan(["a", "b", "a"]).waves == ((0, 2), (1,))


def test_models_that_need_no_cores_run_beside_the_others() -> None:
    assert plan(["a", "b"], []).execution == "parallel"
    assert plan(["a", "b", "a"], ["b"]) == Plan("parallel", ((1,),), (0, 2))
    assert plan(["a", "far", "b"], ["a", "b"]) == Plan("sequential", ((0,), (2,)), (1,))


def test_models_that_do_not_fit_together_take_turns_the_resident_one_first() -> None:
    found = plan(["a", "b", "a"], [], together=False, resident=["b"])
    assert found.execution == "swapped"
    assert (found.waves, found.beside) == (((1,), (0, 2)), ())


def test_what_runs_elsewhere_waits_for_no_swap() -> None:
    found = plan(["a", "far", "b"], ["a", "b"], together=False, elsewhere=["far"])
    assert found == Plan("swapped", ((0,), (2,)), (1,))


def test_the_time_that_passed_is_the_slowest_ones_of_each_wave() -> None:
    schedule = Plan("sequential", ((0, 1), (2,)), (3,))
    first, waited = Timings(0.0, 100.0, 20.0), Timings(95.0, 10.0, 30.0)
    other, remote = Timings(0.0, 40.0, 5.0), Timings(0.0, 10.0, 500.0)
    assert slowest(schedule, {0: first, 1: waited, 2: other}) == [waited, other]
    assert slowest(schedule, {0: first, 2: other, 3: remote}) == [remote]
    assert slowest(schedule, {1: waited}) == [waited]
    assert slowest(schedule, {}) == []


def test_the_documentation_names_every_setting_and_every_field_of_a_request() -> None:
    page = (CONFIGS.parent / "docs" / "ensemble.md").read_text()
    asking, settings = page.split("\n## Asking it\n")[1].split("\n## What comes back\n")
    settings = settings.split("\n## Settings\n")[1].split("\n## ")[0]
    for table, kinds in (
        (asking, [EnsembleOverride]),
        (settings, [EnsembleSettings, Member, Prompts, Example]),
    ):
        named = set(re.findall(r"`[\[{]*(\w+)[\]}]*`", table))
        known = {name for kind in kinds for name in kind.__struct_fields__}
        assert known - named == set()


def test_the_documentation_s_defaults_are_the_settings_own() -> None:
    page = (CONFIGS.parent / "docs" / "ensemble.md").read_text()
    rows = [row.split(" | ") for row in page.split("\n## Settings\n")[1].splitlines()]
    told = {
        name: default
        for cells in rows
        if len(cells) == 3
        for name, default in zip(
            re.findall(r"`(\w+)`", cells[0]), re.split(r", (?!\w+ d)", cells[1]), strict=False
        )
    }
    fields = {field.name: field.default for field in msgspec.structs.fields(EnsembleSettings)}
    compared = 0
    for name, default in told.items():
        own = fields[name]
        if isinstance(own, str | int | float) and own != "":
            shown = str(own).lower() if isinstance(own, bool) else f"{own}".removesuffix(".0")
            assert default.strip('`"') == shown, name
            compared += 1
    assert compared > 20
