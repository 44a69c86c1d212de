"""Tokens that llama.cpp draws itself: on a processor here, by the same calls as on a GPU."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.types import Constraint, GenerateRequest, Sampling, TokenPrompt, ToolUse
from models.worker.backend_sampling import Recipe, recipe_of
from models.worker.llama import Llama, Rows
from tests.tiny_models import write_windowed
from tests.unit.models.served import Served

PROMPT = tuple(range(40, 70))
# The model repeats its last token with a logit of 67, the others have 20 at most: only such
# temperatures as no client asks for spread its draws.
DRAWS = 3000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "plain.gguf"
    write_windowed(path, window=0)
    return path


@pytest.fixture(scope="module")
def llama(model: Path) -> Llama:
    made = Llama(
        model,
        context=256,
        kv_tokens=1024,
        sequences=4,
        threads=1,
        gpu_layers=0,
        safe_mode=True,
        backend_sampling="on",
    )
    made.try_drawing()
    assert made.draws
    return made


def prefill(llama: Llama) -> None:
    llama.clear()
    llama.draw_by(0, None)
    assert llama.decode([Rows(0, 0, PROMPT[:-1], False)]) == 0


def draw(llama: Llama) -> int:
    """One token after the prompt, which stays in the cache."""
    assert llama.cut(0, len(PROMPT) - 1)
    assert llama.decode([Rows(0, len(PROMPT) - 1, PROMPT[-1:], True)]) == 0
    return llama.drawn(0)


def logits(llama: Llama) -> NDArray[np.float32]:
    assert llama.cut(0, len(PROMPT) - 1)
    assert llama.decode([Rows(0, len(PROMPT) - 1, PROMPT[-1:], True)]) == 0
    return llama.logits(1)[0].copy()


def expected(logits: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float64]:
    """Probabilities, computed the slow way."""
    values = logits.astype(np.float64)
    for token, bias in recipe.biases:
        values[token] += bias
    weights = np.exp((values - values.max()) / recipe.temperature)
    order = np.argsort(-weights)
    if recipe.top_k:
        weights[order[recipe.top_k :]] = 0
    heights = weights[order].cumsum() / weights.sum()
    weights[order[int(heights.searchsorted(recipe.top_p)) + 1 :]] = 0
    weights[weights < recipe.min_p * weights.max()] = 0
    return weights / weights.sum()


def test_greedy_is_the_likeliest_token(llama: Llama) -> None:
    prefill(llama)
    best = int(logits(llama).argmax())
    llama.draw_by(0, Recipe())
    assert draw(llama) == best
    llama.draw_by(0, Recipe(biases=((best, -np.inf),)))
    assert draw(llama) != best


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(10.0),
        Recipe(7.0),
        Recipe(20.0, top_k=5),
        Recipe(14.0, top_p=0.7),
        Recipe(30.0, min_p=0.2),
        Recipe(25.0, top_k=40, top_p=0.9, min_p=0.05, biases=((66, 20.0), (69, -np.inf))),
    ],
)
def test_draws_are_as_likely_as_the_recipe_says(llama: Llama, recipe: Recipe) -> None:
    prefill(llama)
    probabilities = expected(logits(llama), recipe)
    llama.draw_by(0, recipe)
    counts = Counter(draw(llama) for _ in range(DRAWS))
    assert all(probabilities[token] > 0 for token in counts)
    found = np.array([counts[token] for token in range(len(probabilities))]) / DRAWS
    # Half the sum of differences: of so many fair draws it is about sqrt(tokens / (6 draws)).
    kept = np.count_nonzero(probabilities)
    assert np.abs(found - probabilities).sum() / 2 < 2 * np.sqrt(kept / (6 * DRAWS))


def test_a_seed_says_which_tokens(llama: Llama) -> None:
    prefill(llama)

    def some(seed: int) -> list[int]:
        llama.draw_by(0, Recipe(12.0, seed=seed))
        return [draw(llama) for _ in range(20)]

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert some(-1) != some(2**32 - 1)  # 64 bits count


def test_rows_with_and_without_recipes_share_a_batch(llama: Llama) -> None:
    prefill(llama)
    row = logits(llama)
    llama.clear()
    for sequence, recipe in enumerate((None, Recipe(), None, Recipe(1.0, top_k=1))):
        llama.draw_by(sequence, recipe)
        assert llama.decode([Rows(sequence, 0, PROMPT[:-1], False)]) == 0
    assert llama.decode([Rows(n, len(PROMPT) - 1, PROMPT[-1:], True) for n in range(4)]) == 0
    rows = llama.logits(4)
    assert np.allclose(rows[0], row, atol=0.1)
    assert np.allclose(rows[2], row, atol=0.1)
    assert {int(row.argmax())} == {llama.drawn(1), llama.drawn(3)}


def test_who_needs_logits_has_no_recipe() -> None:
    prompt = TokenPrompt(PROMPT)
    assert recipe_of(GenerateRequest(prompt), {2}) == Recipe(1.0)
    for sampling in (
        Sampling(logprobs=0),
        Sampling(typical_p=0.9),
        Sampling(presence_penalty=0.1),
        Sampling(frequency_penalty=0.1),
        Sampling(repetition_penalty=1.1),
    ):
        assert recipe_of(GenerateRequest(prompt, sampling=sampling), {2}) is None
    for request in (
        GenerateRequest(prompt, constraint=Constraint("regex", "a+")),
        GenerateRequest(prompt, tool_use=ToolUse(("f",))),
        GenerateRequest(prompt, deterministic=True),
    ):
        assert recipe_of(request, {2}) is None
    greedy = Sampling(temperature=0, seed=5, logit_bias=((7, 1.0),), ignore_eos=True)
    assert recipe_of(GenerateRequest(prompt, sampling=greedy), {2}) == Recipe(
        biases=((2, -np.inf), (7, 1.0))
    )


@pytest.mark.filterwarnings("ignore:llama_token_get_attr:DeprecationWarning")  # llguidance's
def test_a_loop_answers_all_kinds_of_requests_alike(model: Path) -> None:
    """More than there are slots, so that a slot serves one kind after another."""
    greedy = Sampling(temperature=0, ignore_eos=True)
    kinds = [
        GenerateRequest(TokenPrompt(PROMPT), 12, greedy),
        GenerateRequest(TokenPrompt(PROMPT), 12, Sampling(temperature=0, logprobs=2)),
        GenerateRequest(
            TokenPrompt(PROMPT), 12, greedy, constraint=Constraint("regex", "[ab]{12}")
        ),
        GenerateRequest(TokenPrompt(PROMPT), 1, greedy),
        GenerateRequest(TokenPrompt(PROMPT), 12, Sampling(temperature=0, presence_penalty=1.0)),
    ] * 3
    host, device = (Served(model, backend_sampling=choice).ask(kinds) for choice in ("off", "on"))
    assert host == device
    assert set(device[2]) <= {"a", "b"}
    assert len(device[2]) == 12


def test_two_seeded_answers_are_the_same_whoever_is_beside_them(model: Path) -> None:
    served = Served(model, backend_sampling="on")
    seeded = GenerateRequest(TokenPrompt(PROMPT), 12, Sampling(temperature=12, seed=3))
    other = GenerateRequest(TokenPrompt(PROMPT[:9]), 12, Sampling(temperature=12))
    alone = served.ask([seeded])[0]
    together = served.ask([seeded, other, seeded, other])
    assert together[0] == together[2] == alone
    assert together[1] != together[3]
