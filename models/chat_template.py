"""Renders a model's chat template. Templates come with model files, so they are not trusted."""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.bounded import bounded
from models.errors import InvalidRequest, LoadFailed

__all__ = ["PLAIN", "RESERVED", "ChatTemplate"]

# For a base model without a template: turns as plain paragraphs.
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role != 'system' %}{{ message.role | capitalize }}: {% endif %}"
    "{{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

# What a template's own expressions can raise; a worker must outlive its model's template.
FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TimeoutError,
    TypeError,
    ValueError,
)


# Far more than any template takes, and than a long talk does on a busy machine.
MOST_SECONDS = 10.0
MOST_BYTES = 2**30

# Names that no request may set.
RESERVED = frozenset(
    {
        "messages",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "raise_exception",
        "strftime_now",
    }
)


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A Jinja template in the immutable sandbox: it can format text, nothing else.

    Raises LoadFailed for what is no template.
    """

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        environment.filters["tojson"] = _tojson
        functions: dict[str, Any] = {"raise_exception": _raise, "strftime_now": _now}
        environment.globals.update(functions)
        self.source = source or PLAIN
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            with bounded(MOST_SECONDS, MOST_BYTES):  # what is constant is computed here
                self._template = environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise LoadFailed(
                f"The chat template cannot be parsed: line {error.lineno}: {error.message}"
            ) from error
        except (RecursionError, SyntaxError, TimeoutError, MemoryError) as error:
            raise LoadFailed(f"The chat template cannot be compiled: {_said(error)}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        *,
        prompt: bool = True,
    ) -> str:
        """The prompt text, ending where the assistant is to speak unless `prompt` is False.

        Messages and tools as OpenAI's API writes them, but the arguments of calls are objects.
        A template that refuses the messages (roles out of order, say) is an InvalidRequest.
        """
        given = list(tools)
        try:
            try:
                return self._rendered(messages, given or None, variables or {}, prompt)
            except TypeError:
                if given:
                    raise
                # Some go through the tools without asking whether there are any.
                return self._rendered(messages, given, variables or {}, prompt)
        except FAILURES as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {_said(error)}", "messages"
            ) from error

    def _rendered(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
        prompt: bool,
    ) -> str:
        with bounded(MOST_SECONDS, MOST_BYTES):
            return self._template.render(
                **variables,
                messages=list(messages),
                tools=tools,
                add_generation_prompt=prompt,
                **self._tokens,
            )


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own tojson escapes for HTML, which no model was trained on, and takes no generators.
    value = list(cast("Iterator[Any]", value)) if isinstance(value, Iterator) else value
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.datetime.now(tz=datetime.UTC).astimezone().strftime(pattern)
