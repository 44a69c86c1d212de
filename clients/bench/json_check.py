"""The schema that `structured` asks for, and a check that knows the keywords it uses. Pure."""

import json
from typing import Any, cast

__all__ = ["SCHEMA", "fault"]

# Lengths are bounded so that an answer of a small model has an end.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 60},
        "device": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["router", "printer", "laptop", "other"]},
                "room": {"type": "integer"},
            },
            "required": ["kind", "room"],
            "additionalProperties": False,
        },
        "priority": {"type": "string", "enum": ["low", "normal", "high"]},
        "under_warranty": {"type": "boolean"},
        "steps": {
            "type": "array",
            "items": {"type": "string", "maxLength": 60},
            "minItems": 1,
            "maxItems": 3,
        },
    },
    "required": ["title", "device", "priority", "under_warranty", "steps"],
    "additionalProperties": False,
}
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}


def fault(text: str, schema: dict[str, Any] = SCHEMA) -> str | None:
    """What is wrong with an answer, in a few words; None if it fits the schema."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    return _fault(value, schema, "the answer")


def _fault(value: object, schema: dict[str, Any], where: str) -> str | None:
    wanted = schema["type"]
    fits = (
        isinstance(value, int) and not isinstance(value, bool)
        if wanted == "integer"
        else isinstance(value, TYPES[wanted])
    )
    if not fits:
        return f"{where} is no {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of {', '.join(schema['enum'])}"
    match value:
        case str():
            too_long = len(value) > schema.get("maxLength", len(value))
            return f"{where} is too long" if too_long else None
        case list():
            return _array_fault(cast("list[object]", value), schema, where)
        case dict():
            return _object_fault(cast("dict[str, object]", value), schema, where)
        case _:
            return None


def _array_fault(value: list[object], schema: dict[str, Any], where: str) -> str | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{where} has {len(value)} items"
    found = (_fault(item, schema["items"], f"{where}[{n}]") for n, item in enumerate(value))
    return next((each for each in found if each), None)


def _object_fault(value: dict[str, object], schema: dict[str, Any], where: str) -> str | None:
    properties: dict[str, Any] = schema["properties"]
    if missing := [name for name in schema["required"] if name not in value]:
        return f"{where} lacks '{missing[0]}'"
    if unknown := [name for name in value if name not in properties]:
        return f"{where} has an unknown '{unknown[0]}'"
    found = (_fault(item, properties[name], f"'{name}'") for name, item in value.items())
    return next((each for each in found if each), None)
