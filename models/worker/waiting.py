"""Who waits, and whose turn it is among their owners. Pure policy."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Sequence", "Service", "Waiting"]

# A generated token costs about two of a prompt: prompts are decoded many tokens at a time.
GENERATED_TOKEN = 2


@dataclass(eq=False)
class Sequence:
    """One request: its tokens so far, and how many of them the KV cache holds."""

    id: int
    owner: str
    tokens: list[int]
    prompt_length: int
    flex: bool = False  # batch work: gives way to all that is not
    arrival: int = 0  # its place in the order of all that came
    cached: int = 0  # tokens of the prompt that were there when its first one was decoded
    to_prefill: int = 0  # tokens not found there when last placed
    known: int = 0  # tokens there were when last placed: all of them are to be prefilled
    past: int = 0
    apart: bool = False  # its prompt is read in another context, but for the last token
    apart_failed: bool = False  # and is not to be again
    read: int = 0  # how far that is, from `past` on
    turn: int = 0  # tokens that are left of its turn there
    slot: int | None = None
    begun: bool = False
    awaits: "Sequence | None" = None  # whose prefill of `awaited` tokens will be shared
    awaited: int = 0
    scope: str = ""  # who shares its prefixes: its owner, unless another is given
    alone: bool = False  # nothing else runs beside it, and no prefix of others is used
    scored: bool = False  # what follows its prompt is given, and not to be drawn

    def __post_init__(self) -> None:
        self.scope = self.scope or self.owner

    @property
    def pending(self) -> int:
        """Tokens known but not decoded yet."""
        return len(self.tokens) - self.past

    @property
    def unread(self) -> int:
        """Tokens of its prompt that are still to be read in another context."""
        return max(0, self.known - 1 - self.past) if self.apart else 0

    @property
    def first_output(self) -> int:
        """The place of the first token whose logits are wanted: what comes next is asked there."""
        return (self.prompt_length if self.scored else len(self.tokens)) - 1

    @property
    def streaming(self) -> bool:
        """Past its prefill: somebody watches its tokens come."""
        return self.past >= self.known and len(self.tokens) > self.known


class Waiting:
    """The requests that wait: those of one tier and owner stand in the order of their arrival."""

    def __init__(self) -> None:
        self._queues: dict[bool, dict[str, list[Sequence]]] = {False: {}, True: {}}
        self._counts = {False: 0, True: 0}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __iter__(self) -> Iterator[Sequence]:
        for tier in self._queues.values():
            for queue in tier.values():
                yield from queue

    def count(self, *, flex: bool) -> int:
        """How many of a tier wait."""
        return self._counts[flex]

    def has(self, owner: str) -> bool:
        """Whether anything of this owner waits."""
        return any(owner in tier for tier in self._queues.values())

    def owners(self, *, flex: bool) -> list[str]:
        """Whose requests of a tier wait."""
        return list(self._queues[flex])

    def of(self, owner: str, *, flex: bool) -> list[Sequence]:
        """An owner's requests of a tier, oldest first."""
        return self._queues[flex][owner]

    def add(self, sequence: Sequence) -> None:
        """Let it wait among its owner's, by its arrival."""
        queue = self._queues[sequence.flex].setdefault(sequence.owner, [])
        insort(queue, sequence, key=lambda each: each.arrival)
        self._counts[sequence.flex] += 1

    def remove(self, sequence: Sequence) -> bool:
        """It waits no longer; False if it did not."""
        queues = self._queues[sequence.flex]
        queue = queues.get(sequence.owner, [])
        if sequence not in queue:
            return False
        queue.remove(sequence)
        self._counts[sequence.flex] -= 1
        if not queue:
            del queues[sequence.owner]
        return True


class Service:
    """Tokens computed for each owner, so that whoever got least comes first.

    The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (2024):
    who begins to wait starts no lower than where the last one served stood, because time spent
    away earns no credit. So between owners who both always have work waiting, the difference never
    exceeds what fits into the slots at once.
    """

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._level = 0

    def enter(self, owner: str) -> None:
        """An owner of whom nothing waited has work."""
        self._spent[owner] = max(self.spent(owner), self._level)

    def serve(self, spent: int) -> None:
        """An owner who stood at `spent` is served, being the one who got least."""
        self._level = max(self._level, spent)

    def charge(self, owner: str, tokens: int, *, generated: bool) -> None:
        """So many tokens were computed."""
        cost = tokens * GENERATED_TOKEN if generated else tokens
        self._spent[owner] = self.spent(owner) + cost

    def spent(self, owner: str) -> int:
        """What an owner has had, in prompt tokens."""
        return self._spent.get(owner, self._level)

    def forget(self) -> None:
        """Nobody has work: all are equal again."""
        self._spent.clear()
        self._level = 0
