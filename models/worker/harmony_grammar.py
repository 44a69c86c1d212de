"""The grammar of an answer in OpenAI's harmony format (`models.harmony`), in llguidance's Lark.

Any messages of thoughts, and where functions may be called also of what is said before a call; then
the answer, or one call. Headers are as gpt-oss writes them, in either of its two orders.
"""

import re
from collections.abc import Callable, Sequence

from models.harmony import CHANNEL, CONSTRAIN, END, MESSAGE, RECIPIENT, START

__all__ = ["harmony_rules"]


def harmony_rules(
    literal: Callable[[str], str], names: Sequence[str], *, required: bool, has_body: bool
) -> list[str]:
    """Lark rules; the first is `answer`.

    `literal` writes a text in Lark, control tokens as such. `names` are the functions that may be
    called, one of them if `required`; the arguments of each are the grammar `@arguments_0` and so
    on. With `has_body` the answer on the final channel is the grammar `@body`.
    """
    before = ["thought", "preamble"] if names else ["thought"]
    last = ["call"] if names else []
    if not required:
        last.append("final")
    final = "kind? message @body" if has_body else "message ANSWER?"
    rules = [
        f"answer: (({' | '.join(before)}) next)* ({' | '.join(last)})",
        'thought: channel "analysis" message said',
        f"channel: {literal(CHANNEL)}",
        f"message: {literal(MESSAGE)}",
        f'next: {literal(START)} "assistant"',
        f'kind: " " {literal(CONSTRAIN)} "json" | " json"',
        *_said(literal(END)),
    ]
    if not required:
        rules += [f'final: channel "final" {final}', r"ANSWER: /(.|\n)+/"]
    if names:
        rules += ['preamble: channel "commentary" message said', *_calls(literal, names)]
    return rules


def _said(end: str) -> list[str]:
    """The text of a message, and what closes it."""
    if end.startswith("<["):  # one control token, which no text contains
        return [f"said: SAID? {end}", r"SAID: /(.|\n)+/"]
    return [rf"said[lazy]: /(.|\n)*{re.escape(END)}/"]


def _calls(literal: Callable[[str], str], names: Sequence[str]) -> list[str]:
    """A call; its recipient stands after the role, or after the channel."""
    rules = [
        "call: " + " | ".join(f"call_{number}" for number in range(len(names))),
        'calling: channel ("commentary" | "analysis")',
    ]
    for number, name in enumerate(names):
        to = literal(RECIPIENT + name)
        rules.append(
            f"call_{number}: ({to} calling | calling {to}) kind? message @arguments_{number}"
        )
    return rules
