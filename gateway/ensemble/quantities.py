"""Quantities that questions ask for: how that is put, and how a sentence says one. Pure.

In English, German, French, Spanish, Italian and Portuguese; units and their signs are looked for
in any of them, whatever language the question is in.
"""

import re
from typing import NamedTuple

from gateway.ensemble.values import NUMBER_WORDS

__all__ = ["LASTS", "QUANTITIES", "Quantity"]

NEVER = r"(?!)"
SPACE = "[ \u00a0\u202f]"
FIGURE = r"(?<![\w.,])[-−]?\d(?:[\d.,]*\d)?"
NUMBER = rf"(?:{FIGURE}|\b(?:{'|'.join(NUMBER_WORDS)})\b)"
RANGE = rf"(?:\bbetween {NUMBER} and {NUMBER}|{NUMBER}(?: (?:to|bis|à|a) |[–—-]){NUMBER}|{NUMBER})"


class Quantity(NamedTuple):
    """How a quantity is asked for, in English and in any of the languages but not by its unit,
    words that speak of it at all, and one with its unit."""

    asks: re.Pattern[str]
    asks_anywhere: re.Pattern[str]
    says: re.Pattern[str]
    value: re.Pattern[str]


def _named(nouns: str) -> str:
    """How it is asked for by its name: "what is the top speed", "at which height"."""
    return (
        rf"(?:what|which)(?:['’]s| is| are| was| were)?(?: (?:the|its|your|their))?"
        rf"(?: [\w-]+){{0,2}} (?:{nouns})"
    )


def _named_abroad(nouns: str) -> str:
    return (
        r"(?:welche[rsmn]?|wie (?:hoch|groß) ist|was ist|quel(?:le)?s?|qué|cuál(?: es)?"
        r"|qual[ei]?(?: [èé])?|che|que)(?: (?:die|das|der|est|la|le|el|il|o|a))*"
        rf"(?: l['’])?(?: \w+)? ?(?:{nouns})"
    )


def _quantity(
    units: str,
    signs: str = "",
    *,
    loose: str = "",
    asks: str = "",
    nouns: str = "",
    abroad: str = "",
    nouns_abroad: str = "",
    says: str = "",
) -> Quantity:
    """`loose` are units that are words for something else, too, so that "how many degrees" asks
    for nothing. `asks` is how it is asked for without its name, `nouns` are its names, and `abroad`
    and `nouns_abroad` those of other languages; `says` are words of it that are no units."""
    in_units = rf"\b(?:in|how many) (?:{units})\b"
    units += f"|{loose}" if loose else ""
    asked = [rf"\b(?:{one})\b" for one in (asks, nouns and _named(nouns)) if one]
    elsewhere = [abroad, nouns_abroad and _named_abroad(nouns_abroad)]
    elsewhere = [rf"\b(?:{one})\b" for one in elsewhere if one]
    spoken = rf"\b(?:{units})\b" + (rf"|\d\s?(?:{signs})(?!\w)" if signs else "")
    spoken += rf"|\b(?:{says})\b" if says else ""
    value = rf"{RANGE}(?:{SPACE}|-)?(?:(?i:{units})\b" + (rf"|(?:{signs})(?!\w))" if signs else ")")
    return Quantity(
        re.compile("|".join([in_units, *asked]), re.IGNORECASE),
        # Not by its unit: "how many miles" is answered in miles alone, which is a count.
        re.compile("|".join([*asked, *elsewhere]) or NEVER, re.IGNORECASE),
        re.compile(spoken, re.IGNORECASE),
        re.compile(value),
    )


METRES = (
    r"(?:centi|milli|kilo)?met(?:er|re)s?|inch(?:es)?|feet|miles?"
    r"|(?:Zenti|Milli|Kilo)?[Mm]etern?|(?:centi|milli|kilo)?mètres?"
    r"|(?:centí|milí|kiló)?metros?|(?:centi|milli|chilo)?metri|(?:quilô|centí)metros?"
)
TIMES = (
    r"(?:milli)?seconds?|minutes?|hours?|(?:working |business )?days?|weeks?|months?|years?"
    r"|Sekunden?|Minuten?|Stunden?|(?:Werkt|Arbeitst|T)age?n?|Wochen?|Monate?n?|Jahre?n?"
    r"|secondes?|heures?|jours?|semaines?|mois|années?|ans?"
    r"|segundos?|minutos?|horas?|días?|dias?|semanas?|mes(?:es)?|mês|años?|anos?"
    r"|second[oi]|minut[oi]|or[ae]|giorn[oi]|settiman[ae]|mes[ei]|ann[oi]"
)

QUANTITIES = (
    _quantity(
        r"(?:degrees? )?(?:celsius|fahrenheit|centigrade|kelvin)|Grad Celsius",
        r"°(?: ?[CFK])?|K",
        loose=r"degrees?|Grad|degrés?|grados?|gradi|graus?",
        asks=r"how (?:hot|cold|warm)",
        abroad=r"wie (?:heiß|kalt|warm)",
        nouns="temperature",
        nouns_abroad=r"\w*[Tt]emperatur|température|temperatura",
        says=r"hot\w*|cold\w*|warm\w*",
    ),
    _quantity(
        r"(?:kilo|milli)?gram(?:me)?s?|kilos?|ounces?|tonnes?"
        r"|(?:Kilo)?[Gg]ramm|Tonnen?|kilogramos?|gramos?|toneladas?|chili|(?:chilo)?gramm[io]"
        r"|tonnellat[ae]|quilos?|(?:quilo)?gramas?",
        r"kg|mg|g|lbs?|oz|t",
        loose=r"pounds?|tons?",
        asks=r"how heavy|how much (?:do|does|did)\b.{0,80}\bweigh",
        abroad=r"wie schwer|wie ?viel wieg(?:t|en)|combien pèse(?:nt)?|cuánto pesan?"
        r"|quanto pesa(?:no|m)?",
        nouns="weight",
        nouns_abroad=r"\w*[Gg]ewicht|poids|peso",
        says=r"heav\w+|light\w*|weigh\w*",
    ),
    _quantity(
        METRES,
        r"mm|cm|km|m|in|ft|\"|'",
        loose=r"foot|yards?",
        asks=r"how (?:tall|wide|thick|deep|far)",
        abroad=r"wie (?:breit|dick|tief|weit)|à quelle distance",
        nouns=r"length|height|width|depth|distance|thickness|diameter|diagonal",
        nouns_abroad=r"Länge|Höhe|Breite|Tiefe|Entfernung|longueur|hauteur|largeur|profondeur|distance"
        r"|longitud|altura|anchura|profundidad|distancia|lunghezza|altezza|larghezza|profondità"
        r"|distanza|comprimento|largura|profundidade|distância",
        says=r"stor(?:e?ys?|ies)|tall\w*|wide\w*|thick\w*|high\w*|deep\w*|broad\w*",
    ),
    _quantity(
        r"(?:square|cubic) \w+|acres?|hectares?|Quadrat\w*meter|Hektar|mètres carrés"
        r"|metros cuadrados|metri quadr(?:i|ati)|metros quadrados",
        r"(?:k|c|m)?m[²2]",
        nouns="area",
        nouns_abroad=r"Fläche|surface|superficie|área",
    ),
    _quantity(
        r"(?:kilomet(?:re|er)s?|miles|met(?:re|er)s|pages|turns|revolutions)"
        r" (?:per|an?|each|every) (?:second|minute|hour)",
        r"[kMGT]?bit/s|[kMG]bps|km/h|mph|m/s|rpm|knots",
        asks=r"how fast",
        nouns="speed",
        nouns_abroad=r"Geschwindigkeit|vitesse|velocidad|velocità|velocidade",
        says=r"fast\w*|quick\w*|slow\w*|speed\w*|seconds?|minutes?|hours?|days?|weeks?|times",
    ),
    _quantity(
        r"(?:kilo|mega|giga|milli)?watts?",
        r"[kMGm]?W",
        asks=r"how much power",
        nouns="wattage",
    ),
    _quantity(r"(?:kilo)?watt-?hours?|joules?", r"k?Wh|k?J"),
    _quantity(r"(?:kilo)?volts?", r"k?V", nouns="voltage", nouns_abroad=r"Spannung"),
    _quantity(r"(?:kilo|mega|giga)?hertz", r"[kMG]?Hz", nouns="frequency|refresh rate"),
    _quantity(
        r"(?:kilo|mega|giga|tera)(?:bytes?|bits?)",
        r"[KMGTk]i?[Bb]",
        asks=r"how much (?:RAM|memory|storage|disk space)",
    ),
    _quantity(
        r"(?:milli|centi)?lit(?:re|er)s?|gallons?|pints?|(?:Milli)?[Ll]itern?|litros?|litri",
        r"m?l|cl",
        nouns="volume",
        nouns_abroad=r"Volumen|volumen?|volume",
    ),
    _quantity(
        r"decibels?|Dezibel|décibels?|decibelios?|decibel|decibéis",
        r"dBA?",
        asks=r"how loud",
        abroad=r"wie laut",
        says=r"loud\w*|quiet\w*|silen\w*|noise",
    ),
)
# Asked for by "how long", which asks for a length, too; whether a sentence can say it at all is
# told by its figures alone.
LASTS = _quantity(
    f"{TIMES}|{METRES}",
    r"s|min|h|cm|km|m",
    asks=r"how (?:long|soon|quickly)|how much time|after what time",
    abroad=r"wie lange?|combien de temps|cuánto tiempo|quanto tempo",
    nouns="duration|time limit",
    nouns_abroad="Dauer|durée|duración|durata|duração",
)
