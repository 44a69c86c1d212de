"""Which files an `hf:` source means."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DownloadFailed, SourceError
from models.hub_names import Reference, choose, parse, references_of
from models.settings import ModelSettings

QWEN = [
    "README.md",
    "qwen-q4_0.gguf",
    "qwen-q4_k_m.gguf",
    "qwen-fp16-00001-of-00002.gguf",
    "qwen-fp16-00002-of-00002.gguf",
    "mmproj-q4_k_m.gguf",
]
SENTENCES = [
    ".gitattributes",
    "1_Pooling/config.json",
    "config.json",
    "custom_st.py",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "pytorch_model.bin",
    "tf_model.h5",
    "vocab.txt",
]


def chat(source: str, **settings: str) -> ModelSettings:
    return ModelSettings(id="m", kind="chat", source=source, **settings)  # type: ignore[arg-type]


def test_what_a_source_says() -> None:
    assert parse("hf:o/r/a/b.gguf") == Reference(repo="o/r", file="a/b.gguf")
    assert parse("hf:o/r:q8_0") == Reference(repo="o/r", quant="Q8_0")
    assert parse("hf:o/r") == Reference(repo="o/r")
    assert parse("hf:o/r", chat("hf:o/r", quant="q8_0", revision="v2")) == Reference(
        repo="o/r", quant="Q8_0", wants="gguf", revision="v2"
    )
    # What the source itself says is more than what the settings say beside it.
    assert parse("hf:o/r:F16", chat("", quant="Q8_0")).quant == "F16"
    assert parse("hf:o/r", ModelSettings(id="e", kind="embedding")).wants == "folder"


@pytest.mark.parametrize(
    "source",
    ["hf:r", "hf:", "hf:/r", "hf:o/", "hf:o/r:", "hf:o/r:a b", "hf:o/r/m.gguf:Q8_0",
     "hf:o/../x.gguf", "hf:o/r/m.safetensors", "hf:o/r/../../m.gguf", "file:o/r",
     "hf:https://huggingface.co/o/r"],
)  # fmt: skip
def test_what_is_no_source_is_named(source: str) -> None:
    with pytest.raises(SourceError, match=r"write hf:ORG|is no") as raised:
        parse(source)
    assert f"'{source}'" in str(raised.value)


def test_a_model_from_elsewhere_has_nothing_to_download() -> None:
    with pytest.raises(SourceError, match=r"'m' comes from 'file:x\.gguf'"):
        references_of("m", lambda name: chat("file:x.gguf"))
    (found,) = references_of("m", lambda name: chat("hf:o/r"))
    assert found.wants == "gguf"


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("hf:o/r:Q4_0", ("qwen-q4_0.gguf",)),
        ("hf:o/r:q4_k_m", ("qwen-q4_k_m.gguf",)),
        ("hf:o/r", ("qwen-q4_k_m.gguf",)),  # the default precision
        ("hf:o/r:f16", ("qwen-fp16-00001-of-00002.gguf", "qwen-fp16-00002-of-00002.gguf")),
        ("hf:o/r:FP16", ("qwen-fp16-00001-of-00002.gguf", "qwen-fp16-00002-of-00002.gguf")),
        ("hf:o/r/qwen-fp16-00001-of-00002.gguf",
         ("qwen-fp16-00001-of-00002.gguf", "qwen-fp16-00002-of-00002.gguf")),
        ("hf:o/r/mmproj-q4_k_m.gguf", ("mmproj-q4_k_m.gguf",)),
    ],
)  # fmt: skip
def test_files_are_chosen_by_precision(source: str, files: tuple[str, ...]) -> None:
    assert choose(QWEN, parse(source)).files == files


@pytest.mark.parametrize(
    ("names", "quant", "file"),
    [
        (["M-Q4_K_M.gguf", "M-UD-Q4_K_M.gguf"], "Q4_K_M", "M-Q4_K_M.gguf"),
        (["M-Q8_0.gguf", "M-UD-Q4_K_XL.gguf"], "Q4_K_XL", "M-UD-Q4_K_XL.gguf"),
        (["M-Q4_K_S.gguf", "M-Q4_K_M.gguf"], "Q4_K_S", "M-Q4_K_S.gguf"),
        (["M-BF16.gguf", "M-F16.gguf"], "F16", "M-F16.gguf"),
        (["m.v1.5.Q6_K.gguf", "m.v1.5.f16.gguf"], "Q6_K", "m.v1.5.Q6_K.gguf"),
        (["IQ4_XS/M.gguf", "Q8_0/M.gguf"], "Q8_0", "Q8_0/M.gguf"),
        (["gpt-oss-mxfp4.gguf"], "MXFP4", "gpt-oss-mxfp4.gguf"),
        (["M-Q4_0_4_4.gguf", "M-Q4_0.gguf"], "Q4_0", "M-Q4_0.gguf"),
    ],
)
def test_a_precision_is_read_off_a_name(names: list[str], quant: str, file: str) -> None:
    assert choose(names, Reference(repo="o/r", quant=quant)).files == (file,)


def test_the_only_file_will_do_where_no_precision_was_asked_for() -> None:
    only = ["README.md", "m-MXFP4.gguf"]
    assert choose(only, parse("hf:o/r")).files == ("m-MXFP4.gguf",)
    with pytest.raises(DownloadFailed, match="has no Q8_0"):
        choose(only, parse("hf:o/r:Q8_0"))
    with pytest.raises(DownloadFailed):  # but not because it happens to be on the disk
        choose(only, parse("hf:o/r"), lone=False)


@pytest.mark.parametrize(
    ("names", "source", "says"),
    [
        (QWEN, "hf:o/r:Q2_K", "has no Q2_K. It has F16, Q4_0, Q4_K_M: write hf:o/r:QUANT"),
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], "hf:o/r:Q8_0", "hf:o/r/a-Q8_0.gguf, hf:o/r/b-Q8_0.gguf"),
        (QWEN, "hf:o/r/none.gguf", "has no file none.gguf. It has qwen-fp16-00001"),
        (QWEN[:4], "hf:o/r:F16", "lacks 1 parts of qwen-fp16-00001-of-00002.gguf: qwen-fp16-00002"),
        (["README.md"], "hf:o/r", "has no GGUF file"),
    ],
)
def test_what_is_not_there_is_explained(names: list[str], source: str, says: str) -> None:
    with pytest.raises(DownloadFailed) as raised:
        choose(names, parse(source))
    assert says in str(raised.value)
    assert raised.value.code == "no_such_file"


def test_a_chat_model_of_safetensors_is_refused_with_the_ways_out() -> None:
    with pytest.raises(DownloadFailed) as raised:
        choose(SENTENCES, parse("hf:o/r", chat("")))
    assert "GGUF" in str(raised.value)
    assert "vLLM" in str(raised.value)
    assert "upstream:" in str(raised.value)


def test_a_sentence_transformers_folder_is_fetched_without_other_frameworks() -> None:
    embedding = ModelSettings(id="e", kind="embedding")
    choice = choose(SENTENCES, parse("hf:o/r", embedding))
    assert choice.folder
    assert choice.files == (
        "1_Pooling/config.json",
        "config.json",
        "custom_st.py",
        "model.safetensors",
        "modules.json",
        "vocab.txt",
    )
    pickled = [name for name in SENTENCES if name != "model.safetensors"]
    assert "pytorch_model.bin" in choose(pickled, parse("hf:o/r", embedding)).files
    # Where there are only GGUF files, or one is asked for, it is that.
    assert choose(QWEN, parse("hf:o/r", embedding)).files == ("qwen-q4_k_m.gguf",)
    both = parse("hf:o/r:Q4_0", embedding)
    assert choose(SENTENCES + QWEN, both).files == ("qwen-q4_0.gguf",)


NAMES = st.from_regex(r"[a-z]{1,3}(-Q[48]_[0K])?(-0000[12]-of-00002)?\.gguf", fullmatch=True)


@settings(max_examples=30)
@given(st.lists(NAMES, max_size=6))
def test_a_choice_is_files_of_the_repository_or_an_explanation(names: list[str]) -> None:
    with suppress(DownloadFailed):
        choice = choose(names, parse("hf:o/r:Q8_0"))
        assert choice.files
        assert set(choice.files) <= set(names)
