import json

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.answer import (
    AnswerError,
    MemberAnswer,
    Order,
    closed,
    encode,
    extractive_grammar,
    json_schema,
    parse,
)

BYTES = llguidance.LLTokenizer("byte")
PASSAGES = [
    (2, 'Hold the "reset" button for 12 seconds. Then wait.\n| P-150 | ink pad full |'),
    (5, "The fee is £7 a month, at 192.168.40.1."),
]


def accepts(grammar: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def extracts(grammar: str, value: str, number: int) -> bool:
    written = json.dumps({"answer_value": value, "passages": [number]}, separators=(",", ":"))
    lark = llguidance.grammar_from("lark", grammar)
    return accepts(lark, written.encode().decode("unicode_escape").encode("latin-1").decode())


def test_a_value_is_words_of_the_passage_it_cites() -> None:
    grammar = extractive_grammar(PASSAGES)
    assert extracts(grammar, "12 seconds", 2)
    assert not extracts(grammar, "12 seconds", 5)
    assert not extracts(grammar, "13 seconds", 2)
    assert extracts(grammar, "192.168.40.1", 5)
    assert not extracts(grammar, "192.168", 5)
    assert not extracts(grammar, "", 2)
    assert not extracts(grammar, " 12", 2)


def test_quotes_and_markdown_are_not_part_of_a_value() -> None:
    grammar = extractive_grammar(PASSAGES)
    assert extracts(grammar, "Hold the reset button", 2)
    assert extracts(grammar, "P-150 ink pad full", 2)


def test_a_value_stays_in_a_sentence_and_within_its_words() -> None:
    grammar = extractive_grammar(PASSAGES, 3)
    assert extracts(grammar, "the reset button", 2)
    assert not extracts(grammar, "the reset button for", 2)
    assert not extracts(grammar, "12 seconds. Then", 2)
    assert extracts(extractive_grammar(PASSAGES, 1), "button", 2)
    assert not extracts(extractive_grammar(PASSAGES, 1), "reset button", 2)


def test_where_a_number_is_asked_for_the_value_begins_with_one() -> None:
    grammar = extractive_grammar(PASSAGES, figure=True)
    assert extracts(grammar, "12 seconds", 2)
    assert extracts(grammar, "7 a month", 5)
    assert not extracts(grammar, "button for 12", 2)


def test_a_passage_without_a_number_is_no_dead_end() -> None:
    grammar = extractive_grammar([(1, "No number here."), (2, "It is 5.")], figure=True)
    assert extracts(grammar, "5", 2)
    assert not extracts(grammar, "No", 1)
    assert extracts(extractive_grammar([(1, "No number here.")], figure=True), "No number", 1)


def test_words_for_numbers_stand_in_where_there_are_no_digits() -> None:
    grammar = extractive_grammar([(1, "One of three."), (2, "It is 5.")], figure=True)
    assert not extracts(grammar, "three", 1)
    grammar = extractive_grammar([(1, "One of three."), (2, "None here.")], figure=True)
    assert extracts(grammar, "three", 1)
    assert not extracts(grammar, "None", 2)


def test_barred_words_are_in_no_value() -> None:
    grammar = extractive_grammar(PASSAGES, barred=lambda word: word == "P-150")
    assert extracts(grammar, "ink pad full", 2)
    assert not extracts(grammar, "P-150", 2)
    assert not extracts(grammar, "P-150 ink", 2)


def test_idle_words_begin_no_value_unless_there_are_no_others() -> None:
    grammar = extractive_grammar(PASSAGES, idle=lambda word: word in ("the", "for", "Hold"))
    assert extracts(grammar, "reset button for 12 seconds", 2)
    assert not extracts(grammar, "the reset button", 2)
    assert not extracts(grammar, "Hold", 2)
    assert extracts(extractive_grammar(PASSAGES, idle=lambda word: True), "the reset button", 2)


def test_passages_without_words_have_no_grammar() -> None:
    with pytest.raises(AnswerError):
        extractive_grammar([(1, "--- | ---")])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(st.lists(TEXT, min_size=1, max_size=3), st.booleans())
def test_any_text_makes_a_grammar(texts: list[str], figure: bool) -> None:
    try:
        grammar = extractive_grammar(list(enumerate(texts, 1)), figure=figure)
    except AnswerError:
        return
    lark = llguidance.grammar_from("lark", grammar)
    matcher = llguidance.LLMatcher(BYTES, lark, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    # It can begin: there is a byte that may follow the forced opening.
    assert matcher.try_consume_tokens(BYTES.tokenize_str('{"answer_value":"')) == 17
    assert not matcher.is_error()
    assert not matcher.is_stopped()


def test_the_schema_allows_only_the_passages_shown() -> None:
    schema = llguidance.LLMatcher.grammar_from_json_schema(
        json_schema([2, 5]), defaults={"whitespace_flexible": False}
    )
    fields = {
        "answer_value": "12",
        "answer_unit": "s",
        "passages": [5, 2],
        "is_blank": False,
        "answer": "12 s.",
        "explanation": "",
    }
    assert accepts(schema, json.dumps(fields, separators=(",", ":")))
    for wrong in ([3], [], [2, 5, 2]):
        text = json.dumps({**fields, "passages": wrong}, separators=(",", ":"))
        assert not accepts(schema, text)


@pytest.mark.parametrize(
    ("order", "first"),
    [("value_first", "answer_value"), ("explanation_first", "explanation")],
)
def test_the_order_decides_what_is_written_first(order: Order, first: str) -> None:
    answer = MemberAnswer(answer_value="12", passages=(2,), explanation="It says so.")
    text = encode(answer, extractive=False, order=order)
    assert next(iter(json.loads(text))) == first
    assert parse(text, [2, 5]) == answer
    for asked in ("value_first", "explanation_first"):
        schema = llguidance.LLMatcher.grammar_from_json_schema(
            json_schema([2, 5], order=asked), defaults={"whitespace_flexible": False}
        )
        assert accepts(schema, text) == (asked == order)


@pytest.mark.parametrize("extractive", [True, False])
def test_what_is_encoded_is_parsed(extractive: bool) -> None:
    answer = MemberAnswer(answer_value="12", passages=(2,))
    assert parse(encode(answer, extractive), [2, 5]) == answer


def test_parsing_tidies_up() -> None:
    text = '{"answer_value":" 12 ","passages":[2,2,5],"answer":" yes "}'
    answer = parse(text, [2, 5])
    assert (answer.answer_value, answer.passages, answer.answer) == ("12", (2, 5), "yes")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        '{"answer_value":"12","passa',
        '{"answer_value":12}',
        '{"answer_value":"12","passages":[9]}',
        '{"passages":[2]}',
        "[" * 5000,
        '{"answer_value":"\ud800"}',
    ],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(AnswerError):
        parse(text, [2, 5])


@pytest.mark.parametrize("order", ["value_first", "explanation_first"])
@given(answer=st.text(max_size=20), explanation=st.text(max_size=20), data=st.data())
def test_a_text_cut_after_all_that_is_voted_on_is_an_answer(
    order: Order, answer: str, explanation: str, data: st.DataObject
) -> None:
    whole = MemberAnswer(answer_value="12 s", passages=(2,), answer=answer, explanation=explanation)
    text = encode(whole, extractive=False, order=order)
    voted_on = text.index('"is_blank":false') + len('"is_blank":false')
    found = parse(closed(text[: data.draw(st.integers(voted_on, len(text)))]), [2])
    assert (found.answer_value, found.passages, found.is_blank) == ("12 s", (2,), False)
    assert answer.strip().startswith(found.answer)


@pytest.mark.parametrize(
    ("rest", "answer", "explanation"),
    [
        ('"answer":"Hold it. For 12', "Hold it.", ""),
        ('"answer":"Hold it for 12', "", ""),
        ('"answer":"Hold it. It takes 3.5 s', "Hold it.", ""),
        ('"answer":"Hold it. It takes 3.', "Hold it.", ""),
        ('"answer":"Hold it.', "Hold it.", ""),
        ('"answer":"Hold it. \\u00', "Hold it.", ""),
        ('"answer":"A \\\\ B. C \\', "A \\ B.", ""),
        ('"answer":"Hold it.","explanation":"It says so. As', "Hold it.", "It says so."),
    ],
)
def test_the_half_sentence_of_a_cut_text_is_left_out(
    rest: str, answer: str, explanation: str
) -> None:
    head = '{"answer_value":"12 s","answer_unit":"","passages":[2],"is_blank":false,'
    found = parse(closed(head + rest), [2])
    assert (found.answer, found.explanation) == (answer, explanation)


@pytest.mark.parametrize("text", ["", "[1", '{"answer_value":"12', '{"answer_value":"12","a'])
def test_a_value_that_was_cut_is_none(text: str) -> None:
    assert closed(text) == text
    with pytest.raises(AnswerError):
        parse(closed(text), [2])
