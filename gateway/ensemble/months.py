"""The months' names in the languages that questions and documents are commonest in. Pure."""

__all__ = ["MONTHS", "ORDINAL_MONTHS", "WRITTEN"]

# January to December, a line a language: English, German, French, Spanish, Italian, Portuguese.
NAMES = """
january february march april may june july august september october november december
januar februar märz april mai juni juli august september oktober november dezember
janvier février mars avril mai juin juillet août septembre octobre novembre décembre
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro
"""
LANGUAGES = [line.split() for line in NAMES.strip().splitlines()]
# English ones are also cut short: "Mar 2023".
SHORT = {name[:3]: at for at, name in enumerate(LANGUAGES[0], 1)} | {"sept": 9}
MONTHS = {name: at for names in LANGUAGES for at, name in enumerate(names, 1)} | SHORT
# Where the day is an ordinal with a point: "14. Mai" is no end of a sentence.
ORDINAL_MONTHS = [name.capitalize() for name in LANGUAGES[1]]
# As they are written in a sentence: only English and German ones have a capital, so that "Mars
# 2020" is no date.
WRITTEN = [
    *(name.capitalize() for names in LANGUAGES[:2] for name in names),
    *(name for names in LANGUAGES[2:] for name in names),
]
