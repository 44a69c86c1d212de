import pytest

from gateway.ensemble.prompt import Conversation
from gateway.ensemble.rewrite import asked_again, leans, standalone, variants
from models.errors import EngineUnavailable
from models.types import ChatPrompt, Message

TALK = Conversation(
    "",
    (Message("user", "What is the warranty of a monitor?"), Message("assistant", "48 months.")),
    "And how do I claim it?",
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How long do I hold the reset button of the R200 router?", False),
        ("And for printers?", True),
        ("How long does it take to restart after a power cut?", True),
        ("Welche Farbe hat die Lampe des Routers beim Neustart?", False),
        ("Wie lange dauert dies bei einem Drucker mit Netzteil?", True),
        ("它的保修期是多久？", True),
    ],
)
def test_questions_that_lean_on_the_talk(question: str, expected: bool) -> None:
    assert leans(question) is expected


class Writer:
    def __init__(self, text: str | Exception) -> None:
        self.text = text
        self.prompts: list[ChatPrompt] = []

    async def __call__(self, prompt: ChatPrompt, max_tokens: int) -> str:
        self.prompts.append(prompt)
        if isinstance(self.text, Exception):
            raise self.text
        return self.text


async def test_a_question_is_rewritten_only_when_it_leans_on_earlier_turns() -> None:
    write = Writer('"How is the warranty of a monitor claimed?"\nSo it is.')
    assert await standalone(TALK, write) == "How is the warranty of a monitor claimed?"
    assert "48 months." in write.prompts[0].messages[-1].content
    alone = Conversation("", TALK.history, "Which colour has the lamp of the router at start?")
    assert await standalone(alone, write) == alone.question
    first = Conversation("", (), TALK.question)
    assert await standalone(first, write) == first.question
    assert len(write.prompts) == 1


@pytest.mark.parametrize("write", [None, Writer(EngineUnavailable("gone")), Writer(" \n")])
async def test_without_a_writer_the_turn_before_stands_in_front(write: Writer | None) -> None:
    found = await standalone(TALK, write)
    assert found == "What is the warranty of a monitor?\nAnd how do I claim it?"


async def test_variants_are_distinct_and_bounded() -> None:
    write = Writer("1. reset button\n- reset button\n* “factory reset”\nQ?\nmore")
    assert await variants("Q?", 2, write) == ["reset button", "factory reset"]
    assert await variants("Q?", 0, write) == []
    assert await variants("Q?", 2, Writer(EngineUnavailable("gone"))) == []
    assert await variants("Q?", 2, None) == []


@pytest.mark.parametrize(
    ("before", "question", "again"),
    [
        ("How do I reset the R200?", "And the R450?", "How do I reset the R450?"),
        ("What does R-23 mean?", "R-19", "What does R-19 mean?"),
        ("How do I reset the R200?", "And how hot may the R450 be?", None),
        ("How do the R200 and the R450 differ?", "And the R300?", None),
        ("How do I reset it?", "And the R450?", None),
        ("How do I reset the R200?", "And then?", None),
        ("Is the R200's lamp red, R200?", "And the R450?", "Is the R450's lamp red, R450?"),
    ],
)
def test_the_same_may_be_asked_of_another_thing(
    before: str, question: str, again: str | None
) -> None:
    history = (Message("user", before), Message("assistant", "Hold the button."))
    assert asked_again(Conversation("", history, question)) == again
    assert asked_again(Conversation("", (), question)) is None
