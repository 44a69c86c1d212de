"""What an answer must follow, by whatever name the request says it."""

import json
import re
from collections.abc import Iterator, Sequence

import msgspec

from gateway.errors import BadRequest
from gateway.schema.sampling import (
    MAX_GRAMMAR,
    Grammar,
    ResponseFormat,
    SamplingParameters,
    Schema,
    StructuredOutputs,
)
from models.types import Constraint

__all__ = ["constraint_of"]

OBJECT = '{"type":"object"}'
# Blanks but no line breaks: else a text of many empty lines is looked through from each of them.
GBNF_RULE = re.compile(r"^[^\S\n]*[\w-]+[^\S\n]*::=", re.MULTILINE)
# What GBNF's literals cannot have in them as JSON's strings write it.
UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def constraint_of(request: SamplingParameters) -> Constraint | None:
    """The one thing that is asked for, if any. Raises BadRequest for several."""
    found = [*_asked(request), *_format(request.response_format)]
    if len(found) > 1:
        one, other = found[0].param, found[1].param
        raise BadRequest(f"'{one}' and '{other}' exclude each other.", one)
    if found and request.ignore_eos:
        message = f"'ignore_eos' and '{found[0].param}' exclude each other: "
        raise BadRequest(message + "what it allows has an end.", "ignore_eos")
    return found[0] if found else None


def _asked(request: SamplingParameters) -> Iterator[Constraint]:
    """By llama.cpp's names and ours, and by vLLM's older and newer ones."""
    if request.grammar is not None:
        yield _grammar(request.grammar, "grammar")
    if request.regex is not None:
        yield Constraint("regex", request.regex, "regex")
    if request.json_schema is not None:
        yield _schema(request.json_schema, "json_schema")
    if request.guided_json is not None:
        yield _schema(request.guided_json, "guided_json")
    if request.guided_regex is not None:
        yield Constraint("regex", request.guided_regex, "guided_regex")
    if request.guided_choice is not None:
        yield _choice(request.guided_choice, "guided_choice")
    if request.guided_grammar is not None:
        yield _grammar(request.guided_grammar, "guided_grammar")
    if request.structured_outputs is not None:
        yield from _structured(request.structured_outputs)


def _structured(given: StructuredOutputs) -> Iterator[Constraint]:
    place = "structured_outputs"
    for name in ("structural_tag", "whitespace_pattern", "disable_additional_properties"):
        if getattr(given, name):
            param = f"{place}.{name}"
            raise BadRequest(f"'{param}' is not supported.", param, "unsupported_parameter")
    if given.json is not None:
        yield _schema(given.json, f"{place}.json")
    if given.json_object:
        yield Constraint("json_schema", OBJECT, f"{place}.json_object")
    if given.regex is not None:
        yield Constraint("regex", given.regex, f"{place}.regex")
    if given.choice is not None:
        yield _choice(given.choice, f"{place}.choice")
    if given.grammar is not None:
        yield _grammar(given.grammar, f"{place}.grammar")


def _format(wanted: ResponseFormat | None) -> Iterator[Constraint]:
    """The JSON that `response_format` asks for, if any."""
    if wanted is None:
        return
    if wanted.schema is not None and wanted.json_schema is not None:
        message = "'response_format' has both 'schema' and 'json_schema'; give one of them."
        raise BadRequest(message, "response_format.schema")
    if wanted.type == "text":
        if wanted.schema is not None or wanted.json_schema is not None:
            message = "'response_format' of type text takes no schema."
            raise BadRequest(message, "response_format.type")
    elif wanted.schema is not None:
        yield _schema(wanted.schema, "response_format")
    elif wanted.json_schema is not None:
        if wanted.json_schema.schema is msgspec.UNSET:
            raise BadRequest("A schema is missing.", "response_format.json_schema.schema")
        yield _schema(wanted.json_schema.schema, "response_format")
    elif wanted.type == "json_object":
        yield Constraint("json_schema", OBJECT, "response_format")
    else:
        message = "'response_format' of type json_schema needs 'json_schema'."
        raise BadRequest(message, "response_format.json_schema")


def _schema(given: Schema, param: str) -> Constraint:
    """A schema, or one as JSON text."""
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return Constraint("json_schema", text, param)


def _grammar(given: str | Grammar, param: str) -> Constraint:
    """Without its type, a grammar with `::=` is GBNF and any other is Lark."""
    if isinstance(given, Grammar):
        return Constraint(given.type, given.value, param)
    return Constraint("gbnf" if GBNF_RULE.search(given) else "lark", given, param)


def _choice(given: Sequence[str], param: str) -> Constraint:
    """One of these texts, as a grammar that every kind of server reads."""
    for number, text in enumerate(given):
        if UNWRITABLE.search(text):
            where = f"{param}[{number}]"
            raise BadRequest(f"'{where}' has a control character in it.", where)
    grammar = "root ::= " + " | ".join(json.dumps(text, ensure_ascii=False) for text in given)
    if len(grammar) > MAX_GRAMMAR:
        message = f"'{param}' has {len(grammar)} characters; at most {MAX_GRAMMAR} are taken."
        raise BadRequest(message, param)
    return Constraint("gbnf", grammar, param)
