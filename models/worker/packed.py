"""Linear layers whose weights lie as oneDNN wants them: the same vectors, sooner.

torch multiplies by MKL, which lays a layer's weights out anew at each call and, on processors that
are not Intel's, leaves their widest instructions alone. oneDNN does neither: with weights that
were laid out once MiniLM makes 7 % more vectors a second.
"""

import importlib
import platform
from typing import Any

# torch's own annotations are partly unknown; to the type checker it is Any.
torch: Any = importlib.import_module("torch")

__all__ = ["pack_linear_layers"]

_MEASURED = ("x86_64", "amd64")
_ROWS = 1024  # that the layout is made for; from 8 on it makes no difference
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")  # what torch's own compiler emits


def pack_linear_layers(model: Any) -> int:
    """Lay out the weights of a model that is only asked for answers; returns of how many layers.

    Layers that are not of single precision on an x86 processor are left as they are, all of them
    where torch was built without oneDNN. Sums are in another order, so that vectors differ by the
    rounding of single precision (1e-7).
    """
    if platform.machine().lower() not in _MEASURED or not torch.backends.mkldnn.is_available():
        return 0
    if not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS):
        return 0
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is torch.nn.Linear
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
    ]
    for layer in layers:
        _pack(layer)
    return len(layers)


def _pack(layer: Any) -> None:
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(rows: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")

    layer.forward = forward
    # In place of the plain weights, which nothing reads any more and which take as much memory.
    layer.weight = torch.nn.Parameter(packed, requires_grad=False)
