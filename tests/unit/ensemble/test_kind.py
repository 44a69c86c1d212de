import pytest
from msgspec.structs import replace

from gateway.ensemble.evidence import Sentence
from gateway.ensemble.kind import UNABLE, kind_held, ordered
from gateway.ensemble.phrase import whole_phrase
from gateway.ensemble.sought import sought
from tests.unit.ensemble.passages import ROUTER, WIFI
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says


@pytest.mark.parametrize(
    ("question", "sentence", "held"),
    [
        ("How many ports does the R200 have?", "It has 4 ports.", True),
        ("How many ports does the R200 have?", "It has four ports.", True),
        ("How many ports does the R200 have?", "Its ports are on the back.", False),
        ("What year was the bridge opened?", "The bridge was opened in 1931.", True),
        ("What year was the bridge opened?", "The mayor opened the bridge.", False),
        ("Which city wasn't rebuilt?", "Only Warsaw was not rebuilt.", True),
        ("Which city wasn't rebuilt?", "Warsaw was rebuilt at once.", False),
        ("Which box can no longer be sold?", "The box can be sold.", False),
        ("What can't the P30 print on?", "The P30 is unable to print on glass.", True),
        ("What does a new R200 cost?", "The R200 costs 79 pounds.", True),
        ("What does a new R200 cost?", "Replacements are free of charge.", True),
        ("What does a new R200 cost?", "The R200 needs 10 cm of free air.", False),
        ("What is the price of a P30?", "The P30 prints.", False),  # its own figure is none
        ("How many pages per minute does it print?", "It prints 20 pages a minute.", True),
        ("How many pages per minute does it print?", "Its roller lasts 60,000 pages.", False),
        ("How loud is the S4 in decibels?", "It draws 34 watts.", False),
        ("How heavy is the V32?", "It weighs 7.4 kg.", True),
        ("How heavy is the V32?", "It has 3 ports.", False),
        ("How many kilograms does the V32 weigh?", "It weighs 12 pounds.", True),
        ("What does it cost in pounds?", "It is sold for £79.", True),
        ("How wide is the S4?", "The S4 measures 40 x 30 cm.", True),
        ("How wide is the S4?", "The S4 was sold in 2021.", False),
        ("How hot may the room be?", "Up to 35 °C.", True),
        ("How many degrees did she earn?", "She earned three doctorates.", True),
        ("How many watts does it draw?", "It draws 34 W.", True),
        ("How many watts does it draw?", "Its battery holds 34 Wh.", False),
        ("How many primes are there?", "There are infinitely many primes.", True),
        # The negation is in a clause of its own, or what is asked is why: support questions.
        ("What should I do if my printer doesn't print?", "Check the cable.", True),
        ("What is wrong with a laptop that does not start?", "Its battery is empty.", True),
        ("Why isn't my printer printing?", "The cable is loose.", True),
        ("My router has no internet. What does the red light mean?", "It is offline.", True),
        ("Who painted the wall?", "The wall is white.", True),
    ],
)
def test_what_is_asked_for_can_be_said_or_not(question: str, sentence: str, held: bool) -> None:
    assert kind_held(question, [sentence]) is held
    assert kind_held(question, ["It is grey.", sentence]) is held


@pytest.mark.parametrize(
    ("question", "unable", "able"),
    [
        ("How many digits has the key?", "The key is kept safe.", "The key has 48 digits."),
        ("What is the temperature of it?", "It is 4 years old.", "It has 195 degrees."),
    ],
)
def test_sentences_that_cannot_say_what_is_asked_for_come_later(
    question: str, unable: str, able: str
) -> None:
    ranked = [Sentence(1, 0, 9, unable, 0.6), Sentence(1, 9, 20, able, 0.55)]
    first, second = ordered(question, ranked)
    assert (first.text, first.score) == (able, 0.55)
    assert (second.text, second.score) == (unable, pytest.approx(0.6 - UNABLE))


@pytest.mark.parametrize(
    ("question", "unusual", "usual"),
    [
        ("When is it cleaned?", "It is being cleaned.", "It is cleaned on Tuesdays."),
        ("What do you charge for it?", "It is charged.", "It costs 75 pounds."),
        ("Why is it red?", "It is quite red.", "It is red because of the iron."),
        ("It says L-230. What does that mean?", "After L-230 look.", "L-230 means that it fell."),
    ],
)
def test_sentences_that_do_not_put_it_as_it_is_mostly_put_come_later(
    question: str, unusual: str, usual: str
) -> None:
    ranked = [Sentence(1, 0, 9, unusual, 0.6), Sentence(1, 9, 20, usual, 0.57)]
    assert [one.text for one in ordered(question, ranked)] == [usual, unusual]
    ahead = [Sentence(1, 0, 9, unusual, 0.63), Sentence(1, 9, 20, usual, 0.57)]
    assert [one.text for one in ordered(question, ahead)] == [unusual, usual]


def test_how_much_it_weighs_is_no_price() -> None:
    ranked = [Sentence(1, 0, 9, "It weighs 4 kg.", 0.6), Sentence(1, 9, 20, "It costs £4.", 0.59)]
    assert ordered("How much does it weigh?", ranked)[0].text == "It weighs 4 kg."


def test_where_all_can_say_it_sentences_stay_in_their_order() -> None:
    ranked = [Sentence(1, 0, 9, "It is.", 0.6), Sentence(1, 9, 20, "It has 4 lamps.", 0.55)]
    assert ordered("Is it red?", ranked) == ranked


async def test_what_cannot_say_it_counts_against_the_evidence() -> None:
    asked = "How many lamps does the Wi-Fi of the router have?"
    wordy = replace(WIFI, text="The Wi-Fi of the router has lamps in its front.")
    loose = replace(SETTINGS, evidence_floor=0.0)
    seen = (await Rig(says("lamps"), loose, hits=[wordy]).verdict(question=asked)).report.features
    assert seen["kind"] == 0.0
    floor = seen["evidence"] - 0.01
    strict = replace(loose, evidence_floor=floor, missing_kind=0.1)
    declined = (await Rig(says("lamps"), strict, hits=[wordy]).verdict(question=asked)).report
    assert "No sentence speaks to the question" in declined.explanation
    seen = (await Rig(says("12 seconds"), loose, hits=[ROUTER]).verdict()).report.features
    assert seen["kind"] == 1.0


def test_what_is_longer_than_a_question_asks_for_no_kind() -> None:
    assert not kind_held("What year was it?", ["The mayor opened it."])
    assert kind_held("What year was it? " * 40, ["The mayor opened it."])


ABROAD = [
    "Was kostet die Reparatur, und wann war das in der Stadt?",
    "Wie viele Seiten druckt er pro Minute nicht mehr?",
    "Die Lampe ist rot, was bedeutet das?",
    "Quand le pont a-t-il été construit, et qui peut charger la batterie ?",
    "Combien de pages imprime-t-il par minute ? Quelle est la distance ?",
    "¿Cuándo se construyó el puente y cuánto cuesta?",
    "Quanto costa la riparazione, e in che anno?",
    "Hoe lang duurt het, en wie heeft het boek geschreven?",
    "这座桥是什么时候建的？修理多少钱？",
    "橋はいつ建てられましたか？修理はいくらですか？",
]


@pytest.mark.parametrize("question", ABROAD)
def test_what_cannot_be_said_is_told_of_english_questions_alone(question: str) -> None:
    assert kind_held(question, ["Kein Wort davon."])


@pytest.mark.parametrize("question", ABROAD[-3:])
def test_no_form_is_read_into_another_language(question: str) -> None:
    said = "Petra Lang aus Bern zahlte am 12. Mai 1974 genau 30 Euro ($33), die Lampe blieb rot."
    assert sought(said, 0, 5, question) is None
    at = said.index("30 Euro")
    assert whole_phrase(said, at, at + 7, question) == (at, at + 7)
