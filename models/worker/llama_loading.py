"""What a model is loaded with: layers on GPUs, types of the cache, LoRA adapters."""

import ctypes
import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from models.errors import LoadFailed
from models.worker.error_lines import ErrorLines

llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["Adapters", "Weights", "cache_type", "open_model"]

BF16 = 30  # ggml's number; llama_cpp has names for the others


class Weights:
    """A file that llama.cpp reads in a thread: the rest of a worker is imported meanwhile."""

    def __init__(
        self, path: Path, gpu_layers: int, tensor_split: Sequence[float], *, safe_mode: bool
    ) -> None:
        llama_cpp.llama_backend_init()
        self.path = path
        self.errors = _listen()
        thread = ThreadPoolExecutor(1, "weights")
        self._model = thread.submit(
            open_model, str(path), gpu_layers, tensor_split, safe_mode=safe_mode
        )
        thread.shutdown(wait=False)

    def model(self) -> Any:
        """The llama_model, once it is there. Raises LoadFailed with llama.cpp's own words."""
        found = self._model.result()
        if not found:
            raise LoadFailed(f"{self.path}: {self.errors.reason}")
        return found


def open_model(
    path: str, gpu_layers: int, tensor_split: Sequence[float], *, safe_mode: bool
) -> Any:
    """A llama_model, or nothing where llama.cpp refuses; its log says why.

    `gpu_layers` -1 is all. `tensor_split` is a part for each GPU that this process sees.
    """
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers if gpu_layers >= 0 else 9999
    params.use_extra_bufts = not safe_mode
    if tensor_split:
        room = int(llama_cpp.llama_max_devices())
        if len(tensor_split) > room:
            raise LoadFailed(
                f"tensor_split has {len(tensor_split)} parts; this build of llama.cpp takes {room}."
            )
        parts = (ctypes.c_float * room)(*tensor_split)  # read only during the call below
        params.tensor_split = parts
    return llama_cpp.llama_model_load_from_file(path.encode(), params)


def cache_type(name: str) -> int:
    """ggml's number of a KV type."""
    return BF16 if name == "bf16" else int(getattr(llama_cpp, f"GGML_TYPE_{name.upper()}"))


class Adapters:
    """LoRA adapters of a model, files with a scale each. The model owns them and frees them.

    Raises LoadFailed naming the file.
    """

    def __init__(self, model: Any, lora: Sequence[tuple[str, float]]) -> None:
        self._files = ", ".join(path for path, _ in lora)
        self._adapters: Any = (llama_cpp.llama_adapter_lora_p_ctypes * len(lora))()
        self._scales = (ctypes.c_float * len(lora))(*(scale for _, scale in lora))
        for at, (path, _) in enumerate(lora):
            self._adapters[at] = llama_cpp.llama_adapter_lora_init(model, path.encode())
            if not self._adapters[at]:
                raise LoadFailed(f"{path} is no LoRA adapter of this model, or cannot be read.")

    def apply(self, context: Any) -> None:
        """To all that the context decodes from now on. Raises LoadFailed."""
        count = len(self._scales)
        if count and llama_cpp.llama_set_adapters_lora(
            context, self._adapters, count, self._scales
        ):
            raise LoadFailed(f"The LoRA adapters {self._files} do not apply.")


def _listen() -> ErrorLines:
    """From now on llama.cpp's log goes there."""
    errors = ErrorLines()
    global _listener  # llama.cpp keeps the pointer: it must outlive this call
    _listener = llama_cpp.llama_log_callback(errors.take)
    llama_cpp.llama_log_set(_listener, None)
    return errors


_listener: Any = None
