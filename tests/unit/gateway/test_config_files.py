"""Ensembles that are like others, in files."""

from pathlib import Path

import pytest

from gateway.config_files import load_configuration
from gateway.toml import ConfigError

ROOT = Path(__file__).parents[3]


def write(folder: Path, **ensembles: str) -> Path:
    (folder / "models").mkdir()
    (folder / "models" / "m.toml").write_text('id = "m"\nkind = "fake"\n')
    (folder / "ensembles").mkdir()
    for name, text in ensembles.items():
        (folder / "ensembles" / f"{name}.toml").write_text(f'id = "{name}"\n{text}\n')
    path = folder / "gateway.toml"
    path.write_text('[retrieval]\nembedder = "m"\n')
    return path


MEMBERS = '[[members]]\nmodel = "m"\n'


def test_what_a_file_does_not_set_is_as_in_the_one_it_is_like(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        first=f'description = "One"\ntop_k = 7\nstores = ["s"]\n{MEMBERS}{MEMBERS}',
        second=f'like = "third"\ntop_k = 9\n{MEMBERS}',
        third='like = "first"\nmax_value_words = 3',
    )
    found = load_configuration(path, environment={}).ensembles
    second = found["second"]
    assert (second.top_k, second.max_value_words, second.stores) == (9, 3, ("s",))
    assert (len(second.members), len(found["third"].members)) == (1, 2)
    assert (second.description, second.id) == ("", "second")
    assert found["first"].description == "One"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('like = "frist"', r"b\.toml: like: no ensemble 'frist'. Did you mean 'first'"),
        ("like = 5", r"b\.toml: like: no ensemble '5'"),
        ('like = "b"', r"b\.toml: like: b\.toml is like b\.toml"),
        ('like = "first"\ntop_q = 5', r"b\.toml: unknown key 'top_q'"),
        ('like = "first"\nquorum = 3', r"b\.toml: .*quorum"),
    ],
)
def test_what_it_cannot_be_like_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, first=MEMBERS, b=text)
    with pytest.raises(ConfigError, match=said):
        load_configuration(path, environment={})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{MEMBERS}[[members]]\nmodel = "n"', r"e\.toml: members\[1\]\.model: no model 'n'"),
        (f'judge = "nobody"\n{MEMBERS}', r"e\.toml: judge: no model 'nobody'"),
        ('[[members]]\nmodel = "v"', r"e\.toml: members\[0\]\.model: 'v' is of kind 'embedding'"),
        (f'judge = "vectors"\n{MEMBERS}', r"e\.toml: judge: 'vectors' is of kind 'embedding'"),
    ],
)
def test_a_member_or_judge_that_cannot_chat_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, e=text)
    vectors = 'id = "v"\nkind = "embedding"\nsource = "file:v"\naliases = ["vectors"]\n'
    (tmp_path / "models" / "v.toml").write_text(vectors)
    with pytest.raises(ConfigError, match=said):
        load_configuration(path, environment={})


@pytest.mark.parametrize("key", ["reranker", "rewrite_model"])
@pytest.mark.parametrize(
    ("model", "said"),
    [("nobody", "no model 'nobody'"), ("e", "'e' is of kind 'embedding'")],
)
def test_a_model_of_another_kind_is_named(tmp_path: Path, key: str, model: str, said: str) -> None:
    path = write(tmp_path, first=MEMBERS)
    (tmp_path / "models" / "e.toml").write_text('id = "e"\nkind = "embedding"\nsource = "file:e"\n')
    path.write_text(f'[retrieval]\nembedder = "m"\n{key} = "{model}"\n')
    with pytest.raises(ConfigError, match=f"retrieval.{key}: {said}"):
        load_configuration(path, environment={})


def test_the_shipped_ensembles() -> None:
    found = load_configuration(ROOT / "configs" / "gateway.toml", environment={}).ensembles
    assert {"rag-ensemble", "rag-fast", "rag-single", "rag-judge"} <= set(found)
    base = found["rag-ensemble"]
    for name in ("rag-fast", "rag-single", "rag-judge"):
        assert found[name].examples == base.examples
        assert found[name].stores == base.stores
    assert found["rag-judge"].strategy == "judge"
    assert [member.stage for member in found["rag-fast"].members] == [1, 1, 2]
