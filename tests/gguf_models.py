"""Models of BERT's shape for tests: of weights that are installed anyway, or of random ones."""

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

from tests.real_models import minilm_path

__all__ = ["write_bert", "write_cross_encoder", "write_minilm"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTEXT = 256  # what sentence-transformers lets this model read


def write_minilm(
    path: Path, pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN, layers: int = 6
) -> Path:
    """all-MiniLM-L6-v2 in float32, as llama.cpp's own converter writes a BERT."""
    return write_bert(path, minilm_path(), pooling, layers)


def write_bert(path: Path, folder: Path, pooling: gguf.PoolingType | None, layers: int) -> Path:
    """A BERT of a Hugging Face folder, its classifier too if it is to rank."""
    config = json.loads((folder / "config.json").read_text())
    context = min(CONTEXT, config["max_position_embeddings"])
    ranks = pooling is gguf.PoolingType.RANK
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(context)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])
    if pooling is not None:
        writer.add_pooling_type(pooling)
    _add_vocabulary(writer, (folder / "vocab.txt").read_text().splitlines())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    heads = {"pooler.dense": "cls", "classifier": "cls.output"}
    with safe_open(folder / "model.safetensors", "np") as tensors:
        for given in tensors.keys():  # noqa: SIM118 - it is no mapping
            key = given.removeprefix("bert.")
            stem, _, part = key.rpartition(".")
            if stem in heads:
                name = f"{heads[stem]}.{part}" if ranks else None
            else:
                name = names.get_name(key, (".weight", ".bias"))
            if name is None:
                continue
            values = tensors.get_tensor(given)
            positions = key == "embeddings.position_embeddings.weight"
            writer.add_tensor(name, np.float32(values[:context] if positions else values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_cross_encoder(folder: Path) -> Path:
    """A BERT of a few thousand random weights that rates pairs; its tokens are letters."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(3)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=1,
            initializer_range=0.6,
        )
    )
    model.save_pretrained(folder)
    return folder


def _add_vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    """WordPiece, with the marks where llama.cpp has them: before a word, not inside it."""
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    tokens, kinds = [], []
    for word in words:
        special = word in SPECIAL
        tokens.append(
            word
            if special
            else word[2:]
            if word.startswith("##")
            else f"\N{LOWER ONE EIGHTH BLOCK}{word}"
        )
        kinds.append(gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    pad, unknown, begin, end, mask = map(words.index, SPECIAL)
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_unk_token_id(unknown)
    writer.add_sep_token_id(end)
    writer.add_pad_token_id(pad)
    writer.add_mask_token_id(mask)
