"""What to search for: a question that leans on the talk before it, made to stand alone."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from gateway.ensemble.evidence import CODE, WORD, terms
from gateway.ensemble.prompt import Conversation
from models.engine import Engine
from models.errors import ModelError
from models.types import ChatPrompt, GenerateRequest, Message, Sampling

__all__ = ["Write", "asked_again", "leans", "search_queries", "standalone", "variants", "writing"]

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
QUERY = (
    "Rewrite this as a query for a search engine over documents. Leave out politeness and filler; "
    "keep its names, its numbers, its language and its meaning. Reply with the query alone."
)
TOKENS = 96
LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s*")


def writing(engine: Callable[[], Engine], owner: str, *, flex: bool = False) -> Write:
    """Has an engine, looked for once it is needed, write the likeliest words for `owner`."""

    async def write(prompt: ChatPrompt, max_tokens: int) -> str:
        asked = GenerateRequest(
            prompt=prompt,
            max_tokens=max_tokens,
            sampling=Sampling(temperature=0.0),
            owner=owner,
            whole=True,
            flex=flex,
        )
        async with aclosing(engine().generate(asked)) as deltas:
            return "".join([delta.text async for delta in deltas])

    return write


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


def asked_again(talk: Conversation) -> str | None:
    """The question before, asked of another thing: "And the R450?" after one about the R200.

    None where more than that is asked, or either question names no code, or several.
    """
    earlier = [turn.content for turn in talk.history if turn.role == "user"]
    if not earlier or len(talk.question) > MAX_CHARS or len(earlier[-1]) > MAX_CHARS:
        return None
    old, new = (
        {word for word in WORD.findall(text) if CODE.fullmatch(word)}
        for text in (earlier[-1], talk.question)
    )
    if len(old) != 1 or len(new) != 1 or terms(talk.question) != terms(" ".join(new)):
        return None
    return re.sub(rf"(?<!\w){re.escape(old.pop())}(?!\w)", new.pop(), earlier[-1])


async def variants(question: str, count: int, write: Write | None) -> list[str]:
    """Up to `count` other ways to search for the same; none where no member can write."""
    if write is None or count < 1:
        return []
    lines = await _lines(write, VARY.format(count=count), question)
    return [line for line in dict.fromkeys(lines) if line != question][:count]


async def search_queries(given: Sequence[str], write: Write) -> list[str]:
    """Each query as it is better searched for; as it is, where nothing of use was written."""
    written = await asyncio.gather(*(_lines(write, QUERY, query) for query in given))
    return [lines[0] if lines else query for lines, query in zip(written, given, strict=True)]


async def _lines(write: Write, instruction: str, text: str) -> list[str]:
    """What was written, without marks of lists and quotes. Nothing if it failed."""
    prompt = ChatPrompt((Message("system", instruction), Message("user", text)))
    try:
        written = await write(prompt, TOKENS)
    except ModelError:
        return []
    lines = [LIST_MARK.sub("", line).strip(" \t\"'“”`") for line in written.splitlines()]
    return [line for line in lines if line and len(line) <= MAX_CHARS]
