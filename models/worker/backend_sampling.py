"""Backend sampling: llama.cpp draws the token in its own graph, on the device that has the logits.

On a GPU that spares the processor a pass over the vocabulary for every request and step. It serves
requests that need nothing of their logits but a token; all others are drawn by `sampling`. Another
home of `llama_cpp`.
"""

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import ModelError
from models.types import GenerateRequest
from models.worker.sampling import GREEDY_BELOW

llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["BackendSamplers", "Recipe", "recipe_of"]

LARGEST_SEED = 2**32 - 2  # one more means "any" to llama.cpp


@dataclass(frozen=True)
class Recipe:
    """What a chain of samplers does, in the order of `sampling`. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    biases: tuple[tuple[int, float], ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether a chain may go on to serve another request."""
        return self.temperature == 0 or self.seed is None


def recipe_of(request: GenerateRequest, ends: Collection[int]) -> Recipe | None:
    """The recipe of a request, or None for one whose logits must be seen.

    `ends` are the tokens that `ignore_eos` forbids.
    """
    sampling = request.sampling
    if (
        request.constraint is not None
        or request.tool_use is not None
        or request.deterministic
        or sampling.logprobs is not None
        or sampling.typical_p < 1
        or sampling.presence_penalty
        or sampling.frequency_penalty
        or sampling.repetition_penalty != 1
    ):
        return None
    biases = dict(sampling.logit_bias)
    if sampling.ignore_eos:
        biases.update(dict.fromkeys(ends, -np.inf))
    ordered = tuple(sorted(biases.items()))
    if sampling.temperature < GREEDY_BELOW or sampling.top_k == 1:
        return Recipe(biases=ordered)
    return Recipe(
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.seed,
        ordered,
    )


class BackendSamplers:
    """At most one chain of samplers for each sequence of a context.

    Setting one makes llama.cpp plan its buffers anew at the next step, so a chain stays with its
    sequence from one request to the next where both ask for the same.
    """

    def __init__(self, context: Any, vocabulary: int) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._set: dict[int, tuple[Recipe, Any]] = {}

    def use(self, sequence: int, recipe: Recipe | None) -> None:
        """From the next step on the sequence's tokens are drawn so, or not at all."""
        had = self._set.get(sequence)
        if had is None and recipe is None:
            return
        if had is not None and recipe is not None and had[0] == recipe and recipe.repeatable:
            return
        chain = None if recipe is None else self._chain(recipe)
        llama_cpp.llama_set_sampler(self._context, sequence, chain)
        if recipe is None:
            del self._set[sequence]
        else:
            self._set[sequence] = recipe, chain
        if had is not None:
            llama_cpp.llama_sampler_free(had[1])

    def drawn(self, row: int) -> int:
        """The token drawn for output `row` of the last batch, counted from its end as -1.

        Raises ModelError where there is none: the device lacks an operation that the chain needs.
        """
        token = int(llama_cpp.llama_get_sampled_token_ith(self._context, row))
        if token < 0:
            raise ModelError('The device drew no token; set backend_sampling = "off".')
        return token

    def _chain(self, recipe: Recipe) -> Any:
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for sampler in self._samplers(recipe):
            llama_cpp.llama_sampler_chain_add(chain, sampler)
        return chain

    def _samplers(self, recipe: Recipe) -> list[Any]:
        made: list[Any] = []
        if recipe.biases:
            count = len(recipe.biases)
            biases = (llama_cpp.llama_logit_bias * count)(*recipe.biases)
            made.append(llama_cpp.llama_sampler_init_logit_bias(self._vocabulary, count, biases))
        if recipe.temperature == 0:
            return [*made, llama_cpp.llama_sampler_init_greedy()]
        made.append(llama_cpp.llama_sampler_init_temp(recipe.temperature))
        if 0 < recipe.top_k < self._vocabulary:
            made.append(llama_cpp.llama_sampler_init_top_k(recipe.top_k))
        if recipe.top_p < 1:
            made.append(llama_cpp.llama_sampler_init_top_p(recipe.top_p, 1))
        if recipe.min_p > 0:
            made.append(llama_cpp.llama_sampler_init_min_p(recipe.min_p, 1))
        return [*made, llama_cpp.llama_sampler_init_dist(_seed(recipe.seed))]


def _seed(seed: int | None) -> int:
    """32 bits of the API's 64; a fresh one where none was asked for."""
    entropy = None if seed is None else seed & (2**64 - 1)
    return min(int(np.random.SeedSequence(entropy).generate_state(1)[0]), LARGEST_SEED)
