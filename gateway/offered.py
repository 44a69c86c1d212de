"""What a field could have been, where msgspec says only that its value is none of them. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from msgspec import inspect

__all__ = ["instead_of"]

NONE_OF_THEM = re.compile(r"^Invalid (?:enum )?value (?P<value>.*)$", re.DOTALL)
STEP = re.compile(r"\[(?P<at>\d+|\.\.\.)\]|\.?(?P<name>[^.\[\]]+)")
LONGEST = 60  # characters of the value that are repeated


def instead_of(text: str, path: str, value: Any, kind: Any) -> str:
    """msgspec's `text` about the field at `path` of `value`, with the values that there are.

    `path` is as in `members[0].model`; `value` is what was to be a `kind`, as plain objects.
    Any other text is returned as it is.
    """
    found = NONE_OF_THEM.match(text)
    if found is None:
        return text
    types = [inspect.type_info(kind)]
    for step in STEP.finditer(path):
        types, value = _below(types, value, step["name"], step["at"])
    known = list(dict.fromkeys(name for one in types for name in _values(one)))
    if not known:
        return text
    given = found["value"]
    given = given if len(given) <= LONGEST else f"{given[:LONGEST]}…"
    return f"{given} is none of {', '.join(known)}"


def _below(
    types: Iterable[inspect.Type], value: Any, name: str | None, at: str | None
) -> tuple[list[inspect.Type], Any]:
    """The types that a field or an item may have, and its value as far as it is known."""
    found: list[inspect.Type] = []
    for one in _fitting(types, value):
        match one:
            case inspect.StructType() if name is not None:
                if name == one.tag_field:
                    found.append(inspect.LiteralType((one.tag,)))
                found += [field.type for field in one.fields if field.encode_name == name]
            case inspect.DictType():
                found.append(one.value_type)
            case inspect.ListType() | inspect.SetType() | inspect.VarTupleType() if at is not None:
                found.append(one.item_type)
            case _:
                pass
    if name is not None and isinstance(value, Mapping):
        return found, cast("Mapping[str, Any]", value).get(name)
    if at is not None and at.isdigit() and isinstance(value, list):
        items = cast("list[Any]", value)
        return found, items[int(at)] if int(at) < len(items) else None
    return found, None


def _fitting(types: Iterable[inspect.Type], value: Any) -> list[inspect.Type]:
    """Every alternative; of tagged ones the one whose tag the value has, if any has it."""
    found = [each for one in types for each in _alternatives(one)]
    if not isinstance(value, Mapping):
        return found
    fields = cast("Mapping[str, Any]", value)
    tagged: list[inspect.Type] = [
        one
        for one in found
        if isinstance(one, inspect.StructType)
        and one.tag_field is not None
        and fields.get(one.tag_field) == one.tag
    ]
    return tagged or found


def _alternatives(one: inspect.Type) -> list[inspect.Type]:
    match one:
        case inspect.UnionType():
            return [each for part in one.types for each in _alternatives(part)]
        case inspect.Metadata():
            return _alternatives(one.type)
        case _:
            return [one]


def _values(one: inspect.Type) -> list[str]:
    found: list[str] = []
    for each in _alternatives(one):
        match each:
            case inspect.LiteralType():
                found += [repr(value) for value in each.values]
            case inspect.EnumType():
                found += [repr(value.value) for value in each.cls]
            case _:
                pass
    return found
