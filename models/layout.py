"""How a model is built, as far as memory depends on it: from a file's header, or an estimate."""

from msgspec import Struct
from msgspec.structs import replace

from models.errors import SourceError
from models.settings import ModelSettings, Shape

__all__ = ["BITS", "Layer", "Layout", "estimated", "parameters_of", "scaled"]

# Bits a weight takes, all in all: what the files of Llama 3.1 8B have on average. Precisions that
# give some tensors more bits differ between models by some percent.
BITS = {
    "F32": 32.0,
    "BF16": 16.0,
    "F16": 16.0,
    "Q8_0": 8.51,
    "Q6_K": 6.57,
    "Q5_K_M": 5.71,
    "Q5_K_S": 5.58,
    "Q5_1": 6.04,
    "Q5_0": 5.58,
    "Q4_K_M": 4.90,
    "Q4_K_S": 4.67,
    "Q4_1": 5.12,
    "Q4_0": 4.64,
    "IQ4_NL": 4.66,
    "IQ4_XS": 4.43,
    "MXFP4": 4.25,
    "Q3_K_L": 4.30,
    "Q3_K_M": 4.00,
    "Q3_K_S": 3.65,
    "IQ3_M": 3.76,
    "Q2_K": 3.17,
}
DEFAULT_QUANT = "Q4_K_M"
# Embedders in folders: small ones are published in float32, large ones in bfloat16.
HALF_FROM = 1_000_000_000  # parameters
TRAINED = 8192  # tokens, where nobody says


class Layer(Struct, frozen=True, kw_only=True):
    """One block. `keys` and `values` are the numbers that the cache keeps of a token."""

    weights: int  # bytes
    keys: int = 0  # KV heads times their width; 0: no attention
    values: int = 0
    windowed: bool = False  # sees the layout's `window` only
    state: int = 0  # bytes of a sequence's recurrent state


class Layout(Struct, frozen=True, kw_only=True):
    """A model as memory sees it. Sizes in bytes unless they say otherwise.

    `folder` models are run by sentence-transformers: of them only the weights are known.
    """

    architecture: str = ""
    quant: str = ""
    layers: tuple[Layer, ...] = ()
    input: int = 0  # token embeddings: always in the host's memory
    output: int = 0  # what follows the last block; goes to a GPU after all layers
    tied: bool = False  # the input's matrix is the output's too; on a GPU that is a copy
    embedding: int = 0  # numbers in a token's vector
    feed_forward: int = 0  # numbers in the widest step between two of them, all used experts'
    vocabulary: int = 0
    context: int = TRAINED  # tokens it was trained for
    window: int = 0  # tokens that a windowed layer sees
    causal: bool = True  # False: reads a text as a whole and keeps no cache
    parameters: int = 0
    adapters: int = 0  # LoRA
    folder: bool = False
    estimated: bool = False  # from a [shape], not from a file

    @property
    def weights(self) -> int:
        """Of all tensors."""
        return self.input + self.output + sum(each.weights for each in self.layers) + self.adapters

    @property
    def recurrent(self) -> bool:
        """Whether its state cannot be cut back, so that requests share nothing."""
        return any(layer.state for layer in self.layers)


def estimated(settings: ModelSettings) -> Layout:
    """What the model's `[shape]` makes of its `quant`. Raises SourceError where that is too little.

    Of an `hf:org/repo:QUANT` source the precision is the source's.
    """
    shape = settings.shape
    if shape is None:
        raise SourceError(
            f"Model '{settings.id}': {settings.source} is not on this machine, and the settings "
            "have no [shape] to estimate its memory from."
        )
    if _is_folder(settings):
        parameters = parameters_of(settings) or 0
        size = parameters * (2 if parameters >= HALF_FROM else 4)
        return Layout(folder=True, input=size, parameters=parameters, estimated=True)
    quant = (settings.quant or _precision(settings.source) or DEFAULT_QUANT).upper()
    bits = BITS.get(quant.removeprefix("UD-"))
    if bits is None:
        raise SourceError(
            f"Model '{settings.id}': nothing is known of the precision '{quant}', so its memory "
            f"cannot be estimated. Known ones: {', '.join(BITS)}."
        )
    found = _layout(shape, quant, bits, parameters_of(settings) or 0)
    if shape.context is None:  # then nobody knows that it is too much
        return replace(found, context=max(found.context, settings.context or 0))
    return found


def scaled(layout: Layout, factor: float, quant: str) -> Layout:
    """The same model at another precision, whose weights take so many times as much."""
    return replace(
        layout,
        quant=quant,
        input=round(layout.input * factor),
        output=round(layout.output * factor),
        layers=tuple(replace(each, weights=round(each.weights * factor)) for each in layout.layers),
    )


def parameters_of(settings: ModelSettings) -> int | None:
    """How many parameters the settings say that it has; None: they do not."""
    shape = settings.shape
    if shape is not None and shape.parameters is not None:
        return shape.parameters
    if settings.parameters_b is not None:
        return round(settings.parameters_b * 1e9)
    return None if shape is None else _count(shape)


def _layout(shape: Shape, quant: str, bits: float, parameters: int) -> Layout:
    matrix = shape.vocabulary * shape.embedding
    outside = matrix * (1 if shape.tied_embeddings else 2)
    layer = max(0, parameters - outside) * bits / 8 / shape.layers
    width = (shape.kv_heads or shape.heads) * _head(shape)
    every = shape.sliding_window_pattern or 0
    return Layout(
        quant=quant,
        layers=tuple(
            Layer(
                weights=round(layer),
                keys=width,
                values=width,
                windowed=bool(shape.sliding_window) and not (every and (at + 1) % every == 0),
            )
            for at in range(shape.layers)
        ),
        input=round(matrix * bits / 8),
        output=0 if shape.tied_embeddings else round(matrix * bits / 8),
        tied=shape.tied_embeddings,
        embedding=shape.embedding,
        feed_forward=_feed_forward(shape) * (shape.experts_used or 1),
        vocabulary=shape.vocabulary,
        context=shape.context or TRAINED,
        window=shape.sliding_window or 0,
        parameters=parameters,
        estimated=True,
    )


def _head(shape: Shape) -> int:
    return shape.head_dim or shape.embedding // shape.heads


def _feed_forward(shape: Shape) -> int:
    return shape.feed_forward or 4 * shape.embedding


def _count(shape: Shape) -> int:
    """Of the usual blocks: attention, and a gated feed-forward network an expert."""
    heads = 2 * shape.heads + 2 * (shape.kv_heads or shape.heads)
    attention = shape.embedding * heads * _head(shape)
    network = 3 * shape.embedding * _feed_forward(shape) * (shape.experts or 1)
    matrices = 1 if shape.tied_embeddings else 2
    return shape.layers * (attention + network) + matrices * shape.vocabulary * shape.embedding


def _is_folder(settings: ModelSettings) -> bool:
    """Whether sentence-transformers will run it: a whole repository, not a GGUF file of one."""
    is_file = settings.source.lower().endswith(".gguf")
    return settings.kind != "chat" and not (
        settings.quant or _precision(settings.source) or is_file
    )


def _precision(source: str) -> str:
    return source.removeprefix("hf:").partition(":")[2] if source.startswith("hf:") else ""
