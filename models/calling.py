"""Which of a model's templates is for talks with tools, and how its calls are written."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.chat_template import ChatTemplate
from models.errors import ModelError
from models.harmony import HARMONY, is_harmony
from models.literal_arguments import recognised
from models.tool_format import ToolFormat, derive, fallback

__all__ = ["PROBE", "calling"]

PRESENTED = "zqPresented"
PROBE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": PRESENTED,
        "description": "a probe",
        "parameters": {
            "type": "object",
            "properties": {"probe": {"type": "string", "description": "a text"}},
            "required": ["probe"],
        },
    },
}


def calling(
    templates: Sequence[ChatTemplate], ends: Sequence[str]
) -> tuple[ChatTemplate, ToolFormat]:
    """The first template that presents tools, and how it writes calls.

    Of none that does, the last one, with a format that we present: else the model would never hear
    of them.
    """
    for template in templates:

        def shown(messages: Sequence[Mapping[str, Any]], template: ChatTemplate = template) -> str:
            return template.render(messages, [PROBE], prompt=False)

        source = template.source
        known = HARMONY if is_harmony(source) else recognised(source)
        form = known or derive(source, shown, ends)
        if form.native and _presents_tools(template):
            return template, form
    last = templates[-1]
    return last, fallback(last.source)


def _presents_tools(template: ChatTemplate) -> bool:
    """Whether the template tells the model of its tools."""
    try:
        return PRESENTED in template.render([{"role": "user", "content": "Hello."}], [PROBE])
    except ModelError:
        return False
