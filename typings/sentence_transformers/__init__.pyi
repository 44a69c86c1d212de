# What models/worker/embedder.py calls. The library's own annotations lead to torch and to every
# model of transformers, which took the type checker half its time; to embedder.py they were Any.

from typing import Any

class SentenceTransformer:
    def __init__(
        self,
        model_name_or_path: str,
        *,
        device: str,
        local_files_only: bool,
        trust_remote_code: bool,
    ) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class CrossEncoder:
    def __init__(self, model_name_or_path: str, *, device: str, local_files_only: bool) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
