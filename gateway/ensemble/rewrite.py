"""What to search for: a question that leans on the talk before it, made to stand alone."""

import re
from collections.abc import Awaitable, Callable

from gateway.ensemble.evidence import WORD, terms
from gateway.ensemble.prompt import Conversation
from models.errors import ModelError
from models.types import ChatPrompt, Message

__all__ = ["Write", "leans", "standalone", "variants"]

# Has a model write a short text; raises ModelError. None where no member can write.
Write = Callable[[ChatPrompt, int], Awaitable[str]]

# Words that stand for something said before, in the commonest languages of the web. Words that are
# articles too ("la", "das") are not among them.
POINTING = """
it its they them their theirs this that these those he him his she her hers one ones there then
same former latter other others another else instead too
sie er ihn ihm ihr dies diese dieser dieses dort davon dazu damit daran
il elle ils elles cela ça ceci celui celle ceux lui leur
él ella ellos ellas esto eso ese esa allí
ele ela eles elas isto isso essa ali
esso essa essi questo questa quello quella lì
"""
POINTERS = frozenset(POINTING.split())
POINTING_SIGNS = re.compile(r"[它他她这那此其]|これ|それ|あれ|その|この|그것|이것|그")
FEW_TERMS = 3  # a question with fewer words of its own says too little to search by
MAX_CHARS = 400
REWRITE = (
    "Rewrite the last question so that it can be understood without the conversation. Keep its "
    "language and its meaning. Reply with the question alone."
)
VARY = (
    "Write {count} other search queries that could find the answer to this question: other words "
    "for the same thing, in the question's language. One on each line, nothing else."
)
TOKENS = 96
LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s*")


def leans(question: str) -> bool:
    """Whether a question seems to need the turns before it to be understood."""
    words = {word.casefold() for word in WORD.findall(question)}
    few = len(terms(question)) < FEW_TERMS
    return few or bool(words & POINTERS) or POINTING_SIGNS.search(question) is not None


async def standalone(talk: Conversation, write: Write | None) -> str:
    """The question as it is searched for: rewritten only where it leans on earlier turns.

    Where no member can write, or what it writes is of no use, the turn before is put in front.
    """
    earlier = [turn.content for turn in talk.history if turn.role == "user"]
    if not earlier or not leans(talk.question):
        return talk.question
    if write is not None:
        shown = "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in talk.history)
        asked = f"{shown}\n\nLast question: {talk.question}"
        lines = await _lines(write, REWRITE, asked)
        if lines:
            return lines[0]
    return f"{earlier[-1][-MAX_CHARS:]}\n{talk.question}"


async def variants(question: str, count: int, write: Write | None) -> list[str]:
    """Up to `count` other ways to search for the same; none where no member can write."""
    if write is None or count < 1:
        return []
    lines = await _lines(write, VARY.format(count=count), question)
    return [line for line in dict.fromkeys(lines) if line != question][:count]


async def _lines(write: Write, instruction: str, text: str) -> list[str]:
    """What was written, without marks of lists and quotes. Nothing if it failed."""
    prompt = ChatPrompt((Message("system", instruction), Message("user", text)))
    try:
        written = await write(prompt, TOKENS)
    except ModelError:
        return []
    lines = [LIST_MARK.sub("", line).strip(" \t\"'“”`") for line in written.splitlines()]
    return [line for line in lines if line and len(line) <= MAX_CHARS]
