"""What the KV cache gives back is what was put in: llama.cpp itself, on models small and real.

Logits are compared within the noise of a repeat that shares nothing: the same tokens in batches of
another shape. A cell that is missing or another's moves them by far more.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import LoadFailed
from models.settings import ModelSettings
from models.sources import resolve
from models.types import GenerateRequest, Sampling, TokenPrompt
from models.worker.llama import BATCH, Llama, Rows
from models.worker.llama import llama_cpp as llama_library
from tests.tiny_models import CONTEXT, WINDOW, write_hybrid, write_recurrent, write_windowed
from tests.unit.models.served import Served


def load(
    path: Path,
    sequences: int = 4,
    context: int | None = None,
    kv_tokens: int | None = None,
    *,
    split: bool = False,
    share_prefixes: bool = True,
) -> Llama:
    return Llama(
        path,
        context=context,
        kv_tokens=kv_tokens,
        sequences=sequences,
        threads=1,
        gpu_layers=0,
        safe_mode=True,
        split=split,
        share_prefixes=share_prefixes,
    )


def decode(
    llama: Llama, sequence: int, tokens: Sequence[int], start: int = 0, batch: int = BATCH
) -> NDArray[np.float32]:
    """Logits after the last of `tokens`, of which the cache holds the first `start`."""
    for at in range(start, len(tokens), batch):
        rows = Rows(sequence, at, tokens[at : at + batch], at + batch >= len(tokens))
        assert llama.decode([rows]) == 0
    return llama.logits(1)[0].copy()


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Root mean square of the difference, whatever all logits have gained in common."""
    difference = one - other
    return float(np.std(difference))


def text(llama: Llama, length: int, first: int = 1) -> list[int]:
    """Tokens of a text that says nothing twice."""
    pages = range(first, first + 2 + length // 12)
    words = " ".join(f"Page {n}: item {n * 7 % 100} costs {n * 31 % 1000} euros." for n in pages)
    tokens = llama.tokenize(words, add_special=True, parse_special=False)
    assert len(tokens) >= length
    return tokens[:length]


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "windowed.gguf"
    write_windowed(path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "plain.gguf"
    write_windowed(path, window=0)
    return path


def check_reuse(llama: Llama, prompt: list[int], keep: int, beyond: list[int]) -> None:
    """Shared, branched and restored runs of a prompt against unshared ones.

    The sequence that gives its first `keep` tokens has gone on to something else, `beyond`, until
    no sliding window at its end reaches back to them.
    """
    unshared = decode(llama, 0, prompt)
    noise = distance(decode(llama, 1, prompt, batch=len(prompt) // 5), unshared)
    assert llama.cut(1, 0)
    assert llama.cut(0, keep)
    decode(llama, 0, prompt[:keep] + beyond, keep)
    bound = 3 * noise + 1e-3

    assert llama.share(0, 1, keep)
    assert distance(decode(llama, 1, prompt, keep), unshared) <= bound

    state = llama.save(0)
    assert llama.restore(2, state, keep)
    assert distance(decode(llama, 2, prompt, keep), unshared) <= bound

    assert llama.cut(0, keep)
    assert distance(decode(llama, 0, prompt, keep), unshared) <= bound
    # What the bound is worth: without the prefix it is exceeded.
    assert llama.cut(0, 0)
    assert distance(decode(llama, 0, prompt[keep:]), unshared) > bound


def test_gemma_gives_the_same_logits_for_prefixes_shared_branched_and_restored(
    gemma3: ModelSettings,
) -> None:
    """Its windows see 512 tokens: fewer than are shared, and fewer than what comes after them."""
    llama = load(resolve(gemma3.source, Path()), context=1500, kv_tokens=3500)
    prompt = text(llama, 760)
    check_reuse(llama, prompt, 640, prompt[100:630])


def test_a_windowed_model_gives_the_same_logits(windowed: Path) -> None:
    llama = load(windowed, kv_tokens=4 * CONTEXT)
    prompt = text(llama, 300)
    check_reuse(llama, prompt, 200, prompt[30:150])


@pytest.mark.parametrize("split", [False, True])
def test_a_model_without_a_window_gives_the_same_logits(plain: Path, split: bool) -> None:
    llama = load(plain, kv_tokens=4 * CONTEXT, split=split)
    prompt = text(llama, 300)
    check_reuse(llama, prompt, 200, prompt[30:150])


@pytest.mark.parametrize("kind", ["plain", "windowed"])
def test_what_was_read_in_another_context_continues_what_is_here(
    kind: str, request: pytest.FixtureRequest
) -> None:
    llama = load(request.getfixturevalue(kind), kv_tokens=4 * CONTEXT)
    prompt = text(llama, 300)
    unshared = decode(llama, 0, prompt)
    noise = distance(decode(llama, 1, prompt, batch=60), unshared)
    assert llama.cut(0, 120)
    assert llama.cut(1, 0)
    assert llama.share(0, 1, 120)
    other = llama.another(CONTEXT)
    assert other is not None
    assert other.append(0, llama.save(1), 120)
    assert other.decode([Rows(0, 120, prompt[120:299], 0)]) == 0
    assert other.holds(0, 299)
    assert llama.append(1, other.save(0, 120), 299)
    bound = 3 * noise + 1e-3
    assert distance(decode(llama, 1, prompt, 299), unshared) <= bound
    assert distance(decode(llama, 0, prompt, 120), unshared) <= bound  # its cells are its own


@pytest.mark.parametrize("kind", ["plain", "windowed"])
def test_prompts_read_apart_are_answered_as_with_the_others(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    served = Served(path, threads=2, prefix_cache_mb=64, context=CONTEXT, kv_tokens=4 * CONTEXT)
    assert served.loop._scheduler.apart == CONTEXT
    beginning = [*range(10, 30)]
    pages = [text(served.loop._llama, 370, first=1 + 40 * n) for n in range(4)]
    requests = [greedy(beginning + page) for page in pages]
    apart = served.ask(requests)
    assert len(served.loop._reading._readers) == 2
    steps = Served(path, threads=2, prefix_cache_mb=0, context=CONTEXT, kv_tokens=4 * CONTEXT)
    assert steps.loop._scheduler.apart == 0
    alone = [steps.ask([request])[0] for request in requests]
    # A rare answer may turn on the last bits; one that lost a cell is all wrong.
    assert sum(one == other for one, other in zip(apart, alone, strict=True)) >= 3


def test_cells_that_a_window_gave_away_are_noticed(windowed: Path) -> None:
    """llama.cpp reuses cells behind a window while others are free, also where none need go."""
    llama = load(windowed, kv_tokens=4 * CONTEXT)
    prompt = text(llama, 200)
    decode(llama, 0, prompt[:100])
    decode(llama, 1, prompt)
    assert llama.holds(1, 200)
    assert llama.cut(0, 0)  # the next cells are looked for from here on
    decode(llama, 2, prompt[:150])
    assert not llama.holds(1, 200)
    assert not llama.share(1, 3, 60)
    assert llama.holds(3, 0)
    assert llama.holds(2, 150)
    assert not llama.cut(1, 60)
    assert llama.holds(1, 0)


def test_without_sharing_a_window_keeps_no_more_than_it_sees(windowed: Path) -> None:
    llama = load(windowed, kv_tokens=2 * CONTEXT, share_prefixes=False)
    assert not llama.shares_prefixes
    prompt = text(llama, 400)
    decode(llama, 0, prompt, batch=50)
    decode(llama, 1, text(llama, 500), batch=50)
    assert not llama.cut(0, 400 - 2 * WINDOW)  # llama.cpp itself says that this was done
    assert llama.holds(0, 0)


def test_a_split_cache_shares_nothing_that_has_a_window(windowed: Path) -> None:
    assert not load(windowed, split=True).shares_prefixes


def together(llama: Llama, prompts: list[list[int]]) -> list[NDArray[np.float32]]:
    """Each prompt in a sequence of its own, and then a step that decodes a token for each."""
    for sequence, prompt in enumerate(prompts):
        decode(llama, sequence, prompt[:-1])
    rows = [Rows(n, len(p) - 1, p[-1:], True) for n, p in enumerate(prompts)]
    assert llama.decode(rows) == 0
    found = list(llama.logits(len(prompts)).copy())
    llama.clear()
    return found


def test_split_and_unified_caches_give_the_same_logits(plain: Path) -> None:
    whole, split = (load(plain, 4, 256, kv_tokens=1024, split=split) for split in (False, True))
    prompts = [text(whole, 20 + 5 * n, n) for n in range(4)]
    alone = [decode(whole, n, prompt) for n, prompt in enumerate(prompts)]
    whole.clear()
    unified = together(whole, prompts)
    bound = 3 * max(map(distance, alone, unified)) + 1e-3
    assert max(map(distance, together(split, prompts), alone)) <= bound
    assert distance(unified[0], unified[1]) > 2 * bound


def test_a_split_cache_has_room_for_a_whole_context_each(windowed: Path) -> None:
    llama = load(windowed, 3, context=300, split=True)
    assert (llama.context, llama.kv_tokens) == (300, 900)
    for sequence in range(3):
        decode(llama, sequence, text(llama, 300))


def test_what_is_given_is_divided_and_must_suffice(windowed: Path) -> None:
    assert load(windowed, 4, kv_tokens=1024, split=True).context == 256
    with pytest.raises(LoadFailed, match="kv_tokens = 1024 in 4 parts") as raised:
        load(windowed, 4, context=300, kv_tokens=1024, split=True)
    assert "256" in str(raised.value)
    assert "300" in str(raised.value)
    with pytest.raises(LoadFailed, match="256 sequences"):
        load(windowed, 256)


def test_given_ids_are_scored_by_the_model_s_own_logits(plain: Path) -> None:
    served = Served(plain, context=CONTEXT, kv_tokens=CONTEXT)
    tokens = text(served.loop._llama, 60)
    request = GenerateRequest(
        TokenPrompt(tuple(tokens[:1])),
        sampling=Sampling(logprobs=2),
        continuation=tuple(tokens[1:]),
    )
    served.ask([request])
    llama = load(plain)
    assert llama.decode([Rows(0, 0, tokens[:16], 16)]) == 0
    rows = llama.logits(16).astype(np.float64)
    truth = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    found = served.logprobs[0][:16]
    expected = [truth[at, token] for at, token in enumerate(tokens[1:17])]
    assert [each.logprob for each in found] == pytest.approx(expected, abs=1e-2)
    assert [each.top[0][1] for each in found] == pytest.approx(truth.max(axis=1), abs=1e-2)
    assert len(served.logprobs[0]) == len(tokens) - 1


# --- models whose state cannot be cut back ----------------------------------------------------


@pytest.fixture(scope="module", params=[write_recurrent, write_hybrid])
def stateful(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write: Callable[[Path], None] = request.param
    path = tmp_path_factory.mktemp("models") / "stateful.gguf"
    write(path)
    return path


def test_a_state_is_dropped_whole_or_not_at_all(stateful: Path) -> None:
    llama = load(stateful)
    assert not llama.shares_prefixes
    prompt = text(llama, 90)
    before = decode(llama, 0, prompt)
    assert not llama.cut(0, 50)
    assert llama.cut(0, 0)
    assert distance(decode(llama, 0, prompt), before) <= 1e-3 * np.abs(before).max()


def test_states_side_by_side_give_the_logits_of_each_alone(stateful: Path) -> None:
    llama = load(stateful)
    prompts = [text(llama, 60 + n) for n in range(4)]
    alone = [decode(llama, n, prompt) for n, prompt in enumerate(prompts)]
    llama.clear()
    scale = float(np.abs(alone[0]).max())
    assert max(map(distance, together(llama, prompts), alone)) <= 1e-2 * scale
    assert distance(alone[0], alone[1]) > 1e-1 * scale


def greedy(prompt: list[int]) -> GenerateRequest:
    sampling = Sampling(temperature=0, ignore_eos=True)
    return GenerateRequest(TokenPrompt(tuple(prompt)), max_tokens=8, sampling=sampling)


def test_a_model_with_states_serves_many_with_one_beginning(stateful: Path) -> None:
    served = Served(stateful, prefix_cache_mb=64)
    requests = [greedy([*range(10, 110), 10 + n]) for n in range(8)]
    alone = [served.ask([request])[0] for request in requests]
    same = sum(one == other for one, other in zip(served.ask(requests), alone, strict=True))
    # A rare answer may turn on the last bits; one with a neighbour's state is all wrong.
    assert same >= 6
    assert len(set(alone)) > 4
    assert len(served.ends) == 16
    assert all(end.usage.cached_tokens == 0 for end in served.ends.values())
    assert all(end.usage.completion_tokens == 8 for end in served.ends.values())


@pytest.mark.filterwarnings("ignore:llama_token_get_attr:DeprecationWarning")  # llguidance's
def test_grammars_need_a_token_that_ends_a_text_but_not_the_one_called_eos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_windowed(tmp_path / "plain.gguf", window=0)
    llama = load(tmp_path / "plain.gguf")
    monkeypatch.setattr(llama_library, "llama_vocab_eos", lambda _: -1)
    (end,) = llama.end_tokens
    assert llama.grammar_tokenizer().eos_token == end
    llama.end_tokens = frozenset()
    with pytest.raises(ValueError, match="no token that ends"):
        llama.grammar_tokenizer()
