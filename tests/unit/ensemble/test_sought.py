import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.sought import sought

TEXTS = st.lists(
    st.sampled_from(
        ["In 1931", "Ann Lee", "paid", "$2.2 million", "because", "if", "20%", "9 keys"]
    )
).map(" ".join)
QUESTIONS = st.sampled_from(
    [
        "When was it?",
        "Who paid?",
        "How much?",
        "Why?",
        "How many keys?",
        "What percentage?",
        "Where?",
    ]
)


def found(question: str, text: str, said: str) -> str | None:
    at = text.index(said)
    span = sought(text, at, at + len(said), question)
    return None if span is None else text[slice(*span)]


@pytest.mark.parametrize(
    ("question", "text", "said", "wanted"),
    [
        ("What does it cost?", "With 2 drives it costs 7 pounds.", "2 drives", "7 pounds"),
        ("How much was the aid?", "In 1973 the aid was $2.2 billion.", "1973", "$2.2 billion"),
        ("What percentage is forest?", "Of 90 parts 49.6% are forest.", "90 parts", "49.6%"),
        ("When did it open?", "The mayor opened it on 4 May 1931.", "mayor", "4 May 1931"),
        ("In what year did it open?", "The mayor opened it in 1931.", "mayor", "1931"),
        (
            "Who opened the bridge?",
            "The bridge was opened by Ann de Vries.",
            "bridge",
            "Ann de Vries",
        ),
        (
            "Where is the tower?",
            "The tower, a ruin, is in the Saxon Garden.",
            "ruin",
            "Saxon Garden",
        ),
        ("How many keys are there?", "It has 2 doors and 9 keys.", "2 doors", "9"),
        ("Why is it red?", "It is red because of the iron in it.", "iron", "the iron in it"),
        (
            "Under what condition is it odd?",
            "It is odd if no two divide it.",
            "two",
            "no two divide it",
        ),
        # Quantities, by their units, and ranges of them.
        (
            "What is the temperature when it freezes?",
            "On 4 May 2020 it froze at -5 °C.",
            "4 May 2020",
            "-5 °C",
        ),
        ("How heavy is it?", "It was made in 2019 and weighs 138 kg.", "2019", "138 kg"),
        (
            "How much power does it use?",
            "After 10 minutes it draws 0.8 watts.",
            "10 minutes",
            "0.8 watts",
        ),
        (
            "What temperature may it have?",
            "Between 2 hours of rest it has between 8 and 32 degrees Celsius.",
            "2 hours",
            "between 8 and 32 degrees Celsius",
        ),
        (
            "How long does it rest?",
            "Let 2 loaves rest for ten minutes.",
            "2 loaves",
            "ten minutes",
        ),
        (
            "How long is the cable?",
            "The 2 cables are 80 centimetres long.",
            "2 cables",
            "80 centimetres",
        ),
        ("Wie schwer ist das Rad?", "Das Rad 7 wiegt 16 Kilogramm.", "Rad 7", "16 Kilogramm"),
        ("Bei welcher Temperatur lagert es?", "Seit 2009 sind es 12 Grad.", "2009", "12 Grad"),
        ("Quelle est la température ?", "En 2009 il fait 12 degrés.", "2009", "12 degrés"),
        ("¿Cuánto pesa?", "En 2009 pesa 12 kilos.", "2009", "12 kilos"),
        ("How many miles is it?", "It is 325 miles (520 km) away.", "325", None),
        ("What is it?", "It holds 34 Wh since 1931.", "It", None),
        # Of several, the one in whose clause the question's words stand.
        (
            "How warm is the paddling pool?",
            "The main pool is kept at 26 degrees, the paddling pool at 32 degrees.",
            "26 degrees",
            "32 degrees",
        ),
        ("How much do children pay?", "Adults pay £5.80 and children pay £3.20.", "£5.80", "£3.20"),
        # A part of it is completed.
        ("What share has paid?", "Of all, 87 per cent have paid.", "87", "87 per cent"),
        ("How hot is it?", "It is 195 degrees Celsius hot.", "195", "195 degrees Celsius"),
        # What was said is of the kind that is asked for, or there is more than one, or none.
        ("When did it open?", "It opened in 1931.", "1931", None),
        ("When was it?", "It opened in 1931 and closed in 1950.", "It", None),
        ("When did it close in 1931?", "In 1931 the mayor closed it.", "mayor", None),
        ("Who opened it?", "The mayor opened it.", "it", None),
        ("What is it?", "It costs 7 pounds since 1931.", "It", None),
    ],
)
def test_what_is_asked_for_is_found_where_it_stands_once(
    question: str, text: str, said: str, wanted: str | None
) -> None:
    assert found(question, text, said) == wanted


GERMAN = "Der Laden wurde am 14. Mai 1987 in Tübingen mit 1.250 Rädern eröffnet."
FRENCH = "Hélène Marchand a ouvert le musée le 3 avril 1962 avec 2 300 objets."


@pytest.mark.parametrize(
    ("question", "text", "said", "wanted"),
    [
        ("Was kostet ein Lastenrad?", "Mit 2 Rädern kostet es 38 Euro.", "2 Rädern", "38 Euro"),
        ("Combien coûte le billet ?", "Pour 2 jours, il coûte 5,50 €.", "2 jours", "5,50 €"),
        ("¿Cuánto cuesta la visita?", "La visita cuesta 18 euros.", "visita", "18 euros"),
        ("Quanto costa il biglietto?", "Il biglietto costa 7 euro.", "biglietto", None),
        ("Quanto custa a visita?", "A visita custa € 9,50.", "visita", "€ 9,50"),
        ("Wie viel Prozent sind Wald?", "Von 90 Teilen sind 35 % Wald.", "90 Teilen", "35 %"),
        ("Quel pourcentage est boisé ?", "Des 90, 40 % est boisé.", "90", "40 %"),
        ("Wann wurde er eröffnet?", GERMAN, "Laden", "14. Mai 1987"),
        ("Quand a-t-il ouvert ?", FRENCH, "musée", "3 avril 1962"),
        ("¿En qué año abrió?", "Abrió el 5 de mayo de 1911.", "Abrió", "5 de mayo de 1911"),
        ("Wie viele Räder gab es?", GERMAN, "Laden", None),  # "Rädern" is another word to us
        ("Combien d'objets y avait-il ?", FRENCH, "musée", "2 300"),
        ("Qui a ouvert le musée ?", FRENCH, "objets", "Hélène Marchand"),
        # A word that means something else in another language is no form.
        ("When did Costa Rica join?", "Costa Rica paid $5 in 1945.", "Rica", "1945"),
        ("Who won the Grand Prix?", "For $5, Ann Lee won the Grand Prix.", "won", "Ann Lee"),
    ],
)
def test_forms_of_other_languages(question: str, text: str, said: str, wanted: str | None) -> None:
    assert found(question, text, said) == wanted


@given(TEXTS, QUESTIONS, st.integers(0, 40), st.integers(1, 9))
def test_it_is_a_span_of_the_text(text: str, question: str, start: int, length: int) -> None:
    span = sought(text, start, start + length, question)
    assert span is None or 0 <= span[0] < span[1] <= len(text)
