"""Models of a few thousand random weights, of the kinds whose caches differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONTEXT",
    "WINDOW",
    "write_hybrid",
    "write_infilling",
    "write_marked",
    "write_recurrent",
    "write_windowed",
]

CONTEXT = 512
WINDOW = 32
WIDTH, HEADS, LAYERS, STATE = 64, 2, 4, 8
BYTES = 256
# <unk>, <s>, </s>, and every byte.
VOCABULARY = 3 + BYTES


def write_windowed(path: Path, window: int = WINDOW) -> None:
    """Gemma 3's shape: every other layer sees the last `window` tokens only; 0: all of them."""
    model = _Model(path, "gemma3")
    model.out.add_sliding_window(window)
    model.out.add_sliding_window_pattern(2)
    for layer in range(LAYERS):
        model.attention(layer)
        model.feed_forward(layer)
        model.norm(f"blk.{layer}.post_attention_norm")
        model.norm(f"blk.{layer}.post_ffw_norm")
    model.norm("output_norm")
    model.write()


def write_recurrent(path: Path) -> None:
    """Mamba's shape: a state of fixed size and no attention."""
    model = _Model(path, "mamba")
    inner, rank, kernel = 2 * WIDTH, 4, 4
    model.out.add_ssm_conv_kernel(kernel)
    model.out.add_ssm_inner_size(inner)
    model.out.add_ssm_state_size(STATE)
    model.out.add_ssm_time_step_rank(rank)
    for layer in range(LAYERS):
        name = f"blk.{layer}"
        model.norm(f"{name}.attn_norm")
        model.weight(f"{name}.ssm_in.weight", 2 * inner, WIDTH)
        model.weight(f"{name}.ssm_conv1d.weight", inner, kernel)
        model.weight(f"{name}.ssm_conv1d.bias", inner)
        model.weight(f"{name}.ssm_x.weight", rank + 2 * STATE, inner)
        model.weight(f"{name}.ssm_dt.weight", inner, rank)
        model.weight(f"{name}.ssm_dt.bias", inner)
        decay = -np.arange(1, STATE + 1, dtype=np.float32)  # states fade at different speeds
        model.out.add_tensor(f"{name}.ssm_a", np.tile(decay, (inner, 1)))
        model.weight(f"{name}.ssm_d", inner)
        model.weight(f"{name}.ssm_out.weight", WIDTH, inner)
    model.norm("output_norm")
    model.write()


def write_hybrid(path: Path) -> None:
    """LFM2's shape: layers with a short convolution's state, and layers with attention."""
    model = _Model(path, "lfm2", kv_heads=[0, HEADS] * (LAYERS // 2))
    kernel = 3
    model.out.add_shortconv_l_cache(kernel)
    for layer in range(LAYERS):
        if layer % 2:
            model.attention(layer)
        else:
            name = f"blk.{layer}"
            model.norm(f"{name}.attn_norm")
            model.weight(f"{name}.shortconv.conv.weight", WIDTH, kernel)
            model.weight(f"{name}.shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
            model.weight(f"{name}.shortconv.out_proj.weight", WIDTH, WIDTH)
        model.feed_forward(layer)
    model.norm("token_embd_norm")
    model.write()


def write_infilling(path: Path) -> None:
    """One that has tokens for filling in between two texts."""
    write_marked(path, ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"))


def write_marked(
    path: Path,
    marks: Sequence[str],
    context: int = CONTEXT,
    templates: Mapping[str, str] | None = None,
) -> None:
    """One with control tokens of these names, after those of VOCABULARY, and chat templates."""
    model = _Model(path, "gemma3", extra=marks, context=context)
    if templates:
        named = [{"name": name, "template": text} for name, text in templates.items()]
        model.out.add_chat_template(named)
    for layer in range(LAYERS):
        model.attention(layer)
        model.feed_forward(layer)
        model.norm(f"blk.{layer}.post_attention_norm")
        model.norm(f"blk.{layer}.post_ffw_norm")
    model.norm("output_norm")
    model.write()


class _Model:
    def __init__(
        self,
        path: Path,
        architecture: str,
        kv_heads: int | list[int] = HEADS,
        extra: Sequence[str] = (),
        context: int = CONTEXT,
    ) -> None:
        self.out = gguf.GGUFWriter(path, architecture)
        self._random = np.random.default_rng(7)
        self.out.add_context_length(context)
        self.out.add_embedding_length(WIDTH)
        self.out.add_feed_forward_length(2 * WIDTH)
        self.out.add_block_count(LAYERS)
        self.out.add_head_count(HEADS)
        self.out.add_head_count_kv(kv_heads)
        self.out.add_layer_norm_rms_eps(1e-5)
        self.out.add_tokenizer_model("llama")
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTES)), *extra]
        control, byte = gguf.TokenType.CONTROL, gguf.TokenType.BYTE
        self.out.add_token_list(tokens)
        self.out.add_token_scores([0.0] * len(tokens))
        kinds = [control, control, *[byte] * BYTES, *[control] * len(extra)]
        self.out.add_token_types([gguf.TokenType.UNKNOWN, *kinds])
        self.out.add_bos_token_id(1)
        self.out.add_eos_token_id(2)
        self.out.add_unk_token_id(0)
        self.weight("token_embd.weight", len(tokens), WIDTH, scale=1.0)

    def attention(self, layer: int) -> None:
        name = f"blk.{layer}"
        self.norm(f"{name}.attn_norm")
        for part in ("q", "k", "v", "output"):
            self.weight(f"{name}.attn_{part}.weight", WIDTH, WIDTH)
        for part in ("q", "k"):
            self.norm(f"{name}.attn_{part}_norm", WIDTH // HEADS)

    def feed_forward(self, layer: int) -> None:
        name = f"blk.{layer}"
        self.norm(f"{name}.ffn_norm")
        self.weight(f"{name}.ffn_gate.weight", 2 * WIDTH, WIDTH)
        self.weight(f"{name}.ffn_up.weight", 2 * WIDTH, WIDTH)
        self.weight(f"{name}.ffn_down.weight", WIDTH, 2 * WIDTH)

    def norm(self, name: str, size: int = WIDTH) -> None:
        self.out.add_tensor(f"{name}.weight", np.ones(size, np.float32))

    def weight(self, name: str, *shape: int, scale: float | None = None) -> None:
        """Rows times columns; llama.cpp counts the other way round."""
        values: NDArray[np.float32] = self._random.standard_normal(shape, np.float32)
        self.out.add_tensor(name, values * np.float32(scale or 1 / np.sqrt(shape[-1])))

    def write(self) -> None:
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()
