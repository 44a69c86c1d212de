"""The grammar of arguments that are written as literals (`models.literal_arguments`), in Lark.

A schema is followed value by value, since neither Python's words nor Gemma's texts are JSON. What
is the same in JSON (numbers, and with Python's quotes texts) is left to llguidance's own schemas.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from models.tagged_arguments import SILENT, Parameter
from models.tool_format import Literals

__all__ = ["LiteralRules"]

Schema = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z0-9_$.-]+")
# Of each type, the keywords that are followed here. `format` and others of texts are JSON's alone.
OBJECT = frozenset({"properties", "required", "additionalProperties"})
ARRAY = frozenset({"items", "minItems", "maxItems"})
TEXT = frozenset({"minLength", "maxLength", "pattern"})
TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
SHARED = frozenset({"$defs", "definitions", "$schema", "$id"})
LONGEST_LIST = 1000  # of items that a rule counts


class LiteralRules:
    """Rules for the arguments of one function; `prefix` begins the name of each.

    `literal` writes a text in Lark, control tokens as such. Raises ValueError for what cannot be
    followed, naming it.
    """

    def __init__(self, prefix: str, literals: Literals, literal: Callable[[str], str]) -> None:
        self.rules: list[str] = []
        self._prefix = prefix
        self._literals = literals
        self._literal = literal
        self._count = 0
        self._definitions: Mapping[str, Schema] = {}
        self._known: dict[str, str] = {}  # rules by what they follow
        self._comma = '","' if literals.bare_keys else "/, ?/"
        self._colon = '":"' if literals.bare_keys else "/: ?/"

    def arguments(self, parameters: Sequence[Parameter]) -> str:
        """The rule of all arguments, in the order of the schema."""
        parts: list[tuple[str, bool]] = []
        for each in parameters:
            if NAME.fullmatch(each.name) is None:
                raise ValueError(f"this model cannot write an argument called {each.name[:60]!r}")
            self._definitions = {
                f"#/{key}/{name}": schema
                for key in ("$defs", "definitions")
                for name, schema in cast("Mapping[str, Schema]", each.schema.get(key, {})).items()
            }
            head = json.dumps(each.name + self._literals.assign)
            parts.append((f"{head} {self._value(each.schema)}", each.required))
        return self._listed(parts)

    def _listed(self, parts: Sequence[tuple[str, bool]]) -> str:
        """The parts in order, commas between; those that are not required may be missing."""
        first = after = ""
        for part, required in reversed(parts):
            begun = f"{part} {after}".strip()
            follows = f"{self._comma} {begun}"
            if not required:
                begun = f"{begun} | {first}" if first else f"({begun})?"
                follows = f"{follows} | {after}" if after else f"({follows})?"
            first, after = self._rule(begun), self._rule(follows)
        return first

    def _value(self, given: object) -> str:
        """The rule of a value."""
        if given is False:
            raise ValueError("'false' is a schema that no value follows")
        schema = cast("Schema", given if isinstance(given, Mapping) else {})
        known = json.dumps(schema, sort_keys=True)
        if known not in self._known:
            self._known[known] = name = self._new_name()
            self.rules.append(f"{name}: {self._rules_of(schema)}")
        return self._known[known]

    def _rules_of(self, schema: Schema) -> str:
        said = _merged({key: schema[key] for key in schema.keys() - SILENT - SHARED})
        if "$ref" in said:
            self._only(said, frozenset({"$ref"}))
            return self._value(self._resolved(said["$ref"]))
        if "anyOf" in said:
            return self._any_of(said)
        choices = [said["const"]] if "const" in said else said.get("enum")
        if choices is not None:
            return self._choices(said, cast("list[object]", choices))
        types = said.pop("type", None)
        if types is None and not said:
            return self._anything()
        if types is None:
            types = [name for name in TYPES if self._says_of(name, said)] or list(TYPES)
        if isinstance(types, list):
            listed = cast("list[str]", types)
            return " | ".join(
                self._value({"type": name, **self._of_type(name, said)}) for name in listed
            )
        return self._of(str(types), said)

    def _any_of(self, said: Schema) -> str:
        """One of several; a type beside them holds for each."""
        self._only(said, frozenset({"anyOf", "type"}))
        branches = cast("list[Schema]", said["anyOf"])
        if "type" in said:
            wanted = said["type"]
            listed = cast("list[object]", wanted if isinstance(wanted, list) else [])
            typed: list[Schema] = [{"type": wanted, **each} for each in branches]
            branches = [each for each in typed if each["type"] in (wanted, *listed)]
        if not branches:
            raise ValueError("nothing in 'anyOf' is of the 'type' beside it")
        return " | ".join(self._value(each) for each in branches)

    def _of(self, kind: str, said: Schema) -> str:
        """A value of one type."""
        if kind in ("boolean", "null"):
            true, false, null = map(json.dumps, self._literals.words)
            return f"{true} | {false}" if kind == "boolean" else null
        if kind in ("number", "integer") or (kind == "string" and self._literals.escapes):
            plain = kind == "string" and not said
            return self._json({"type": kind, **said}) + (f" | {self._quoted()}" if plain else "")
        if kind == "string":
            return self._text(said)
        return self._array(said) if kind == "array" else self._object(said)

    def _text(self, said: Schema) -> str:
        """A text between quotes of several characters, in which nothing is escaped."""
        self._only(said, TEXT)
        if "pattern" in said:
            if len(said) > 1:
                raise ValueError("this model cannot follow 'pattern' together with a length")
            body = _whole(str(said["pattern"]))
        else:
            least, most = said.get("minLength", 0), said.get("maxLength", "")
            body = rf"(.|\n){{{least},{most}}}"
        quote = self._literal(self._literals.quote)
        if quote.startswith("<["):
            text = self._new_name("T")
            self.rules.append(f"{text}: /{body}/")
            # Lark's terminals are never empty.
            empty = "?" if re.fullmatch(r"\(\.\|\\n\)\{0,.*", body) else ""
            return f"{quote} {text}{empty} {quote}"
        mark = re.escape(self._literals.quote).replace("/", r"\/")
        text = self._new_name("T")
        self.rules.append(f"{text}: {quote} (/{body}/ & ~/(.|\\n)*{mark}(.|\\n)*/) {quote}")
        return text

    def _array(self, said: Schema) -> str:
        self._only(said, ARRAY)
        item = self._value(said.get("items", {}))
        least, most = int(said.get("minItems", 0)), said.get("maxItems")
        if most is not None and int(most) < 1:
            return '"[" "]"'
        if max(least, int(most or 0)) > LONGEST_LIST:
            raise ValueError(f"this model cannot follow lists of more than {LONGEST_LIST} items")
        rest = f"{max(least - 1, 0)},{'' if most is None else int(most) - 1}"
        items = f"{item} ({self._comma} {item}){{{rest}}}"
        return f'"[" {items} "]"' if least else f'"[" ({items})? "]"'

    def _object(self, said: Schema) -> str:
        """Its properties in order; or, where none are listed, any names with values of one kind."""
        self._only(said, OBJECT)
        properties = cast("Mapping[str, object]", said.get("properties", {}))
        required = cast("list[str]", said.get("required", []))
        others = said.get("additionalProperties", True)
        names = {**properties, **{name: others for name in required if name not in properties}}
        if names or others is False:
            parts = [
                (f"{self._key(name)} {self._colon} {self._value(each)}", name in required)
                for name, each in names.items()
            ]
            return f'"{{" {self._listed(parts)} "}}"'
        key = r"/[A-Za-z0-9_]+/" if self._literals.bare_keys else self._json({"type": "string"})
        pair = f"{key} {self._colon} {self._value(others)}"
        return f'"{{" ({pair} ({self._comma} {pair})*)? "}}"'

    def _key(self, name: str) -> str:
        if not self._literals.bare_keys:
            return json.dumps(json.dumps(name, ensure_ascii=False), ensure_ascii=False)
        if NAME.fullmatch(name) is None:
            raise ValueError(f"this model cannot write a property called {name[:60]!r}")
        return json.dumps(name)

    def _choices(self, said: Schema, choices: Sequence[object]) -> str:
        self._only(said, frozenset({"enum", "const", "type"}))
        types = said.get("type", TYPES)
        allowed = [types] if isinstance(types, str) else cast("Sequence[str]", types)
        found = [each for each in choices if _is_one_of(each, allowed)]
        if "const" in said and "enum" in said:
            found = [each for each in found if each in cast("list[object]", said["enum"])]
        if not found:
            raise ValueError("'enum' lists nothing of its 'type'")
        return " | ".join(self._spelled(each) for each in found)

    def _spelled(self, value: object) -> str:
        """One value, exactly."""
        if isinstance(value, str) and not self._literals.escapes:
            if self._literals.quote in value:
                raise ValueError(f"this model cannot write {value[:60]!r}")
            quote = self._literal(self._literals.quote)
            return f"{quote} {json.dumps(value)} {quote}" if value else f"{quote} {quote}"
        if value is None or isinstance(value, bool):
            return json.dumps(self._literals.words[(True, False, None).index(value)])
        if isinstance(value, (str, int, float)):
            return json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
        raise ValueError("this model cannot choose among lists or objects in 'enum'")

    def _anything(self) -> str:
        return " | ".join(self._value({"type": name}) for name in TYPES if name != "integer")

    def _quoted(self) -> str:
        """A text between single quotes, as Python's may stand too."""
        return r"""/'([^'\\\x00-\x1f]|\\['"\\nrtbf])*'/"""

    def _json(self, schema: Schema) -> str:
        flags = {"x-guidance": {"whitespace_flexible": False}}
        return f"%json {json.dumps({**schema, **flags}, ensure_ascii=False)}"

    def _resolved(self, reference: object) -> object:
        found = self._definitions.get(str(reference))
        if found is None:
            raise ValueError(f"this model cannot follow '$ref' to {str(reference)[:60]!r}")
        return found

    def _says_of(self, kind: str, said: Schema) -> bool:
        """Whether a schema without a type says something of values of this one."""
        of = {"object": OBJECT, "array": ARRAY, "string": TEXT}
        return bool(of.get(kind, frozenset()) & said.keys())

    def _of_type(self, kind: str, said: Schema) -> Schema:
        """What is said of values of one type, among others' keywords."""
        others = {"object": OBJECT, "array": ARRAY, "string": TEXT | {"format"}}
        foreign = frozenset[str]().union(*(keys for name, keys in others.items() if name != kind))
        if kind not in ("number", "integer"):
            foreign |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
        return {key: value for key, value in said.items() if key not in foreign}

    def _only(self, said: Schema, known: frozenset[str]) -> None:
        for other in sorted(said.keys() - known):
            raise ValueError(f"this model cannot follow '{other}' here")

    def _rule(self, body: str) -> str:
        name = self._new_name()
        self.rules.append(f"{name}: {body}")
        return name

    def _new_name(self, kind: str = "v") -> str:
        self._count += 1
        return f"{kind}{self._prefix}_{self._count}"


def _merged(said: dict[str, Any]) -> dict[str, Any]:
    """With what `allOf` lists, if no keyword is said twice."""
    found = {key: value for key, value in said.items() if key != "allOf"}
    for each in cast("Sequence[object]", said.get("allOf", ())):
        schema = cast("Schema", each if isinstance(each, Mapping) else {"not": {}})
        for key, value in schema.items():
            if found.setdefault(key, value) != value:
                raise ValueError(f"this model cannot follow '{key}' twice in 'allOf'")
    return found


def _is_one_of(value: object, types: Sequence[str]) -> bool:
    match value:
        case bool():
            return "boolean" in types
        case None:
            return "null" in types
        case int():
            return "integer" in types or "number" in types
        case float():
            return "number" in types or (value.is_integer() and "integer" in types)
        case str():
            return "string" in types
        case list():
            return "array" in types
        case _:
            return "object" in types


def _whole(pattern: str) -> str:
    """The regular expression of all texts in which the pattern is found."""
    if pattern.startswith("^") and pattern.endswith("$") and "|" not in pattern:
        body = pattern[1:-1]
        if not body.endswith("\\") and "^" not in body.replace("[^", "") and "$" not in body:
            return body.replace("/", r"\/")
    if re.search(r"(?<!\[)\^|\$|\\[bBAzZ]|/", pattern):
        raise ValueError(f"this model cannot follow the pattern {pattern[:60]!r}")
    return rf"(.|\n)*({pattern})(.|\n)*"
