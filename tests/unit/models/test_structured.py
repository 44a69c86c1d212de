"""What grammars allow, byte by byte and without a model."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import InvalidRequest
from models.types import Constraint
from tests.unit.models.grammar_walk import vocabulary

Draft = jsonschema.Draft202012Validator
Schemas = st.SearchStrategy[Any]

# Those that llguidance enforces and jsonschema can check without further packages.
FORMATS = ("date", "ipv4", "ipv6", "uuid")
PATTERNS = ("^[a-c]+$", "^[0-9]{2}-[a-z]?$", "[xy]z", "^(yes|no)$")


def bounds(low: str, high: str, most: int) -> Schemas:
    pair = st.lists(st.integers(0, most), min_size=2, max_size=2).map(sorted)
    return st.one_of(
        st.just({}),
        pair.map(lambda p: {low: p[0]}),
        pair.map(lambda p: {high: p[1]}),
        pair.map(lambda p: {low: p[0], high: p[1]}),
    )


strings = st.one_of(
    bounds("minLength", "maxLength", 6),
    st.sampled_from(PATTERNS).map(lambda p: {"pattern": p}),
    st.sampled_from(FORMATS).map(lambda f: {"format": f}),
).map(lambda more: {"type": "string", **more})
numbers = st.builds(
    lambda kind, more, multiple: {"type": kind, **more, **multiple},
    st.sampled_from(["integer", "number"]),
    bounds("minimum", "maximum", 40),
    st.sampled_from([{}, {"multipleOf": 1}]),
)
values = st.sampled_from([None, True, 0, -1.5, "", 'a"b\\', "ü🦜", [1, "x"], {"k": [None]}])
leaves = st.one_of(
    strings,
    numbers,
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"$ref": "#/$defs/leaf"}]),
    values.map(lambda value: {"const": value}),
    st.lists(values, min_size=1, max_size=3).map(lambda found: {"enum": found}),
)


def arrays(inner: Schemas) -> Schemas:
    return st.builds(
        lambda items, more: {"type": "array", "items": items, **more},
        inner,
        bounds("minItems", "maxItems", 3),
    )


def apart(inner: Schemas) -> Schemas:
    """Branches that no value matches two of: of different types, or told apart by a property."""
    by_type = st.builds(
        lambda one, kinds: [{"type": "array", "items": one}, *kinds],
        inner,
        st.lists(
            st.sampled_from([{"type": "null"}, {"const": "oneOf"}, {"type": "integer"}]),
            min_size=1,
            unique_by=json.dumps,
        ),
    )
    by_name = st.lists(inner, min_size=2, max_size=3).map(
        lambda found: [
            {
                "type": "object",
                "properties": {"const": {"enum": [number]}, "oneOf": each},
                "required": ["const"],
                "additionalProperties": False,
            }
            for number, each in enumerate(found)
        ]
    )
    return st.one_of(by_type, by_name).map(lambda found: {"oneOf": found})


def combined(inner: Schemas) -> Schemas:
    return st.lists(inner, min_size=1, max_size=2).map(lambda found: {"allOf": found})


def objects(inner: Schemas) -> Schemas:
    names = st.sampled_from(
        ["a", "b", 'q"', "default", "enum", "format", "oneOf", "allOf", "properties", "$ref"]
    )
    return st.builds(
        lambda properties, required, others, least: {
            "type": "object",
            "properties": properties,
            "required": sorted(required & properties.keys()),
            **({} if others is None else {"additionalProperties": others}),
            **least,
        },
        st.dictionaries(names, inner, max_size=3),
        st.sets(names),
        st.one_of(st.just(False), st.none(), inner),
        st.sampled_from([{}, {}, {"minProperties": 1}, {"minProperties": 2}, {"maxProperties": 2}]),
    )


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        arrays(inner),
        objects(inner),
        apart(inner),
        combined(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found}),
    ),
    max_leaves=6,
).map(lambda schema: {**schema, "$defs": {"leaf": {"type": "string", "maxLength": 3}}})


@given(schemas, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_schema_allows_validates(schema: Any, seed: int) -> None:
    try:
        text = vocabulary().walk(Constraint("json_schema", json.dumps(schema)), seed, limit=200)
    except InvalidRequest:  # nothing satisfies it, or nobody could tell
        return
    if text is not None:
        Draft(schema, format_checker=Draft.FORMAT_CHECKER).validate(json.loads(text))


@pytest.mark.parametrize("kind", ["date", "date-time"])
def test_no_day_comes_that_no_calendar_has(kind: str) -> None:
    schema = {"type": "string", "format": kind, "pattern": "^[02468]{2}(00|0[0-9])-02-29"}
    for seed in range(30):
        text = vocabulary().walk(Constraint("json_schema", json.dumps(schema)), seed)
        assert text is not None
        Draft({"format": "date"}, format_checker=Draft.FORMAT_CHECKER).validate(
            json.loads(text)[:10]
        )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True},
        {"not": {"pattern": "x"}},
        {"if": {"minLength": 1}, "then": {"maxLength": 3}},
        {"type": "object", "propertyNames": {"maxLength": 2}},
        {"type": "array", "contains": {"const": 2}},
        {"unevaluatedProperties": False, "anyOf": [{"type": "object"}]},
        {"type": "object", "minProperties": 2},
        {"type": "string", "format": "banana"},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"$dynamicRef": "#x"},
        {"x-guidance": {"lenient": True}, "not": {"type": "string"}},
        {"$ref": "https://example.com/other.json"},
        {"$ref": "#/$defs/none"},
        {"maximum": 1e300, "type": "number"},
        {"pattern": "(?=a)b", "type": "string"},
    ],
    ids=lambda schema: next(key for key in schema if key not in ("type", "items")),
)
def test_what_cannot_be_promised_is_refused_by_name(schema: Any) -> None:
    keyword = next(key for key in schema if key not in ("type", "items"))
    named = "banana" if keyword == "format" else keyword
    with pytest.raises(InvalidRequest, match=named.replace("$", r"\$")) as caught:
        vocabulary().grammars.compile(Constraint("json_schema", json.dumps(schema))).result()
    assert caught.value.param == "response_format"


GBNF = {
    "list": ('root ::= item+\nitem ::= "- " [^\\r\\n\\x0b\\u2028]+ "\\n"', "- "),
    "sums": (
        'root ::= expr "=" num # a sum\nexpr ::= num (op num)*\nop ::= [-+*/]\nnum ::= [0-9]{1,3}',
        None,
    ),
    "recursion": ('root ::= "(" root* ")"', "("),
    "json": (
        "root ::= object\n"
        'value ::= object | string | "true"\n'
        'object ::= "{" (string ":" value ("," string ":" value)*)? "}"\n'
        'string ::= "\\"" [^"\\\\\\x7F\\x00-\\x1F]* "\\""',
        "{",
    ),
    "moves": ('root ::= (pawn | castle) [+#]?\npawn ::= [a-h] [1-8]\ncastle ::= "O-O" "-O"?', None),
    "letters": ("root ::= kana+\nkana ::= [ぁ-ゟ]", None),
}


@pytest.mark.parametrize("name", GBNF)
def test_llama_cpps_grammars_are_taken(name: str) -> None:
    text, begins = GBNF[name]
    found = [vocabulary().walk(Constraint("gbnf", text), seed) for seed in range(5)]
    ended = [one for one in found if one is not None]
    assert ended
    assert all(one.startswith(begins or "") for one in ended)


def test_codes_and_brackets_mean_what_they_do_in_llama_cpp() -> None:
    text = r'root ::= "\u0041\x42\"/" [\u0061-\x62] [\]\[^-] . [/&&-] "\n"'
    for seed in range(20):
        found = vocabulary().walk(Constraint("gbnf", text), seed)
        assert found is not None
        assert found[:4] == 'AB"/'
        assert found[4] in "ab"
        assert found[5] in "][^-"
        assert found[7] in "/&-"
        assert found[8:] == "\n"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("^(a|b)c$", {"ac", "bc"}), ("a{2}|b", {"aa", "b"}), ("x?", {"", "x"})],
)
def test_a_regular_expression_is_matched_as_a_whole(pattern: str, expected: set[str]) -> None:
    found = {vocabulary().walk(Constraint("regex", pattern), seed) for seed in range(20)}
    assert found == expected


def references(count: int, **link: Any) -> str:
    """A chain of definitions, each of which refers to the next."""
    defs = {
        f"a{n}": json.loads(json.dumps(link).replace("NEXT", f"#/$defs/a{n + 1}"))
        for n in range(count)
    }
    return json.dumps({"$ref": "#/$defs/a0", "$defs": {**defs, f"a{count}": {"type": "null"}}})


CHAIN = "start: r0\n" + "\n".join(f"r{n}: r{n + 1}" for n in range(2500)) + '\nr2500: "x"'
CROSS = json.dumps(
    {
        "allOf": [
            {"anyOf": [{"required": [f"p{10 * j + i}"], "type": "object"} for i in range(10)]}
            for j in range(8)
        ]
    }
)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lark", "start: " + "(" * 3000 + '"a"' + ")" * 3000),
        ("lark", "start: start"),
        ("lark", "start: nowhere"),
        ("lark", 'start: "' + "x" * 40_000 + '"'),
        ("lark", 'start: %json {"type": "integer", "multipleOf": 999983}'),
        ("gbnf", "root ::= " + "(" * 3000 + '"a"' + ")" * 3000),
        ("gbnf", "".join(f"r{n} ::= r{n + 1}\n" for n in range(2000))),
        ("gbnf", 'rot ::= "a"'),
        ("gbnf", 'root ::= <think> "a"'),
        ("gbnf", 'root ::= "a'),
        ("gbnf", "[" * 32_000),
        ("gbnf", '"\\' * 16_000),
        ("gbnf", "<" * 32_000),
        ("gbnf", "!" * 32_000),
        ("gbnf", "\n" * 32_000),
        ("gbnf", "root ::= " + "a" * 31_000),
        ("gbnf", "root ::= a{" + "1" * 31_000 + "}"),
        ("lark", "\n" * 32_000),
        ("lark", "%json " * 5_000),
        ("lark", "start: %json " + "[" * 31_000),
        ("lark", "start: %json " + '{"a":' * 6_000),
        ("regex", "(" * 5000 + "a" + ")" * 5000),
        ("regex", "(ab"),
        ("regex", "(?=a)b"),
        ("regex", r"[^\s\S]"),
        ("regex", "a" * 40_000),
        ("json_schema", "false"),
        ("json_schema", CROSS),
        ("json_schema", references(2500, **{"$ref": "NEXT"}).replace('"null"', '"banana"')),
    ],
    ids=lambda text: text[:24],
)
def test_what_is_too_much_is_refused_and_named(kind: Any, text: str) -> None:
    constraint = Constraint(kind, text)
    with pytest.raises(InvalidRequest) as caught:
        vocabulary().grammars.compile(constraint).result(60)
    names = {"json_schema": "response_format", "regex": "regex"}
    assert caught.value.param == names.get(kind, "grammar")
    assert len(str(caught.value)) < 500
    assert not any(word in str(caught.value) for word in ("panic", "fuel", "Expecting object"))


def test_limits_that_nobody_can_set_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.worker.structured.LEXER_FUEL", 10)
    with pytest.raises(InvalidRequest, match=r"it is too complex$"):
        vocabulary().grammars.compile(Constraint("regex", "(a*)*" * 500 + "b")).result()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('root ::= "a"\nb ::= [a-z', "the bracket that begins in line 2, column 7 has no end"),
        ('root ::= "a', "the literal that begins in line 1, column 10 has no end"),
        ("root ::= <think", "angle brackets"),
    ],
)
def test_what_has_no_end_is_named_by_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        vocabulary().grammars.compile(Constraint("gbnf", text)).result()


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (r'{"type":"integer","multiple\u004ff":300000}', "multipleOf"),
        (r'{"type": "object", "min\u0050roperties": 3}', "minProperties"),
        ('{"x-guidance": {"lenient": true}, "not": {}}', "x-guidance"),
        ('{"$ref": "#/default", "default": {"multipleOf": 300000}}', "does not lead"),
        ('{"allOf": ' * 70 + "[]" + "}" * 70, "nested"),
    ],
)
def test_a_schema_in_a_grammar_is_checked_like_any(schema: str, says: str) -> None:
    text = f"start: a | b\na: %json {{}}\nb: %json{schema}\n"
    with pytest.raises(InvalidRequest, match=says) as caught:
        vocabulary().grammars.compile(Constraint("lark", text)).result()
    assert caught.value.param == "grammar"


def test_a_schema_in_a_grammar_is_rewritten_like_any() -> None:
    text = (
        'start: "<" day ">" both "%json [\\"" // %json {}\n'
        'day: %json { "type": "string", "format": "date", "pattern": "^[02468]{2}00-02-29" }\n'
        'both: %json {"oneOf": [{"const": 1}, {"type": "string", "maxLength": 2}]}\n'
    )
    for seed in range(20):
        found = vocabulary().walk(Constraint("lark", text), seed)
        assert found is not None
        day, _, rest = found.removeprefix("<").partition(">")
        Draft({"format": "date"}, format_checker=Draft.FORMAT_CHECKER).validate(json.loads(day))
        both = json.loads(rest.removesuffix('%json ["'))
        assert both == 1 or len(both) <= 2


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("lark", CHAIN, "x"),
        ("json_schema", references(2000, **{"$ref": "NEXT"}), "null"),
        ("json_schema", references(2000, allOf=[{"$ref": "NEXT"}]), "null"),
        ("json_schema", references(60, anyOf=[{"$ref": "NEXT"}, {"$ref": "NEXT"}]), "null"),
    ],
)
def test_long_chains_of_references_end_no_process(kind: Any, text: str, expected: str) -> None:
    assert vocabulary().walk(Constraint(kind, text), 1) == expected


def test_an_answer_that_outgrows_its_grammar_is_an_error_and_no_end() -> None:
    constraint = Constraint("regex", "((a{1000}){1000}){1000}")
    with pytest.raises(InvalidRequest, match="too complex") as caught:
        vocabulary().walk(constraint, 1)
    assert caught.value.param == "regex"
