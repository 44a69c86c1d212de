"""Prompts to token ids, with the model's own chat template and vocabulary."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from models.calling import calling
from models.chat_template import RESERVED, ChatTemplate
from models.errors import InvalidRequest, ModelError, Unsupported
from models.harmony import THOUGHTS, is_harmony, turns_with_one_call
from models.literal_arguments import speaking
from models.output_parser import Thinking
from models.tool_format import flatten, reasoning_of
from models.turns import one_call_a_turn, without_system
from models.types import (
    ChatPrompt,
    GenerateRequest,
    Message,
    Prompt,
    TextPrompt,
    TokenizeRequest,
    Tool,
)
from models.worker.answer_grammar import Shape
from models.worker.llama import Llama
from models.worker.sizes import check_token_count, check_tokenize

__all__ = ["Prompts", "Rendered", "Spelling"]

# What templates call the switch for thinking, and what they call how long.
SWITCHES = ("enable_thinking", "thinking")
EFFORT = "reasoning_effort"
SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
# How long the last prompt is remembered, in seconds: a template may write the time of day.
REMEMBERED_S = 5.0


@dataclass(frozen=True)
class Rendered:
    """A prompt's tokens, and whether the answer may begin with thoughts or is amid them."""

    tokens: list[int]
    thinking: Thinking


class Spelling:
    """The vocabulary, where some control tokens are text as well: those in `spoken`."""

    def __init__(self, llama: Llama, spoken: Mapping[int, bytes]) -> None:
        self._llama = llama
        self.spoken = spoken
        self.end_tokens = llama.end_tokens

    def piece(self, token: int) -> bytes:
        """A token's bytes."""
        return self.spoken.get(token) or self._llama.piece(token)


class Prompts:
    """What a message says never becomes a control token: text that spells one stays text.

    Else a user, or a passage of a document, could end its turn and speak as the system.
    """

    def __init__(self, llama: Llama, template: str | None, model: str) -> None:
        self._llama = llama
        self._model = model
        self._template = ChatTemplate(template or llama.chat_template, llama.bos, llama.eos)
        self._controls = {token: llama.special_text(token) for token in llama.control_tokens}
        controls = {token: llama.special_piece(token) for token in llama.control_tokens}
        self.spelled = Spelling(llama, controls)
        ends = [llama.special_text(token) for token in llama.end_tokens]
        source = self._template.source
        self._harmony = is_harmony(source)
        # Some files have a template of its own for talks with tools.
        named = None if template else llama.tool_template
        templates = [self._template]
        if named is not None:
            templates.insert(0, ChatTemplate(named, llama.bos, llama.eos))
        self._with_tools, self.form = calling(templates, ends)
        self.reasoning = THOUGHTS if self._harmony else reasoning_of(source)
        if self._harmony:  # llama.cpp takes its marks for ordinary tokens
            self._controls |= {t: text.decode() for t, text in self.spelling().spoken.items()}
        self._first = {text[0] for text in self._controls.values() if text}
        self._system = self._takes([_turn("system"), _turn("user")])
        self._last: tuple[str, Prompt, Rendered, float] | None = None

    def spelling(self) -> Spelling:
        """The vocabulary as the parser of answers needs it."""
        marks = list(self.form.marks)
        if self.reasoning is not None:
            marks += [self.reasoning.opening, self.reasoning.closing]
        spoken = {part for mark in marks for part in self._llama.segments(mark)}
        return Spelling(
            self._llama,
            {part: self._llama.special_piece(part) for part in spoken if isinstance(part, int)},
        )

    def shape(self, request: GenerateRequest, rendered: Rendered) -> Shape | None:
        """What the answer may be made of; None: text alone."""
        if not isinstance(request.prompt, ChatPrompt):
            return None
        if request.tool_use is None and rendered.thinking == "no":
            return None
        return Shape(
            self.form, request.prompt.tools, request.tool_use, self.reasoning, rendered.thinking
        )

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a chat as it would be decoded, or of a text; raises InvalidRequest."""
        check_tokenize(request)
        if isinstance(request.prompt, ChatPrompt):
            return self._render(request.prompt).tokens
        return self._llama.tokenize(
            request.prompt.text,
            add_special=request.add_special,
            parse_special=request.parse_special,
        )

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> str:
        """Text of ids; `special` spells control tokens out. Raises InvalidRequest."""
        pieces = self.spell(tokens) if special else map(self._llama.piece, self._checked(tokens))
        return b"".join(pieces).decode("utf-8", "replace")

    def spell(self, tokens: Sequence[int]) -> tuple[bytes, ...]:
        """Each token's bytes, control tokens' too. Raises InvalidRequest."""
        return tuple(map(self._llama.special_piece, self._checked(tokens)))

    def _checked(self, tokens: Sequence[int]) -> Sequence[int]:
        check_token_count(len(tokens))
        self._check_ids(tokens, "tokens")
        return tokens

    def _check_ids(self, tokens: Sequence[int], param: str) -> None:
        for token in (min(tokens, default=0), max(tokens, default=0)):
            if not 0 <= token < self._llama.vocabulary:
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", param)

    def render(self, prompt: Prompt, owner: str) -> Rendered:
        """A prompt as it is decoded, with a list of its own; raises InvalidRequest.

        The samples of one request come one after the other, each with the same prompt: it is
        rendered and counted once. For its owner alone: nobody else can tell by the time it takes
        that a prompt was seen before.
        """
        now = time.monotonic()
        last = self._last
        if last is not None and last[3] > now and last[:2] == (owner, prompt):
            rendered = last[2]
        else:
            rendered = self._render(prompt)
            self._last = (owner, prompt, rendered, now + REMEMBERED_S)
        return Rendered(list(rendered.tokens), rendered.thinking)

    def given(self, continuation: str | Sequence[int]) -> list[int]:
        """Ids of what follows a prompt and is not drawn; raises InvalidRequest."""
        if isinstance(continuation, str):
            return self._llama.tokenize(continuation, add_special=False, parse_special=False)
        self._check_ids(continuation, "prompt")
        return list(continuation)

    def _render(self, prompt: Prompt) -> Rendered:
        if isinstance(prompt, ChatPrompt):
            try:
                return self._chat(prompt)
            except RecursionError as error:
                raise InvalidRequest("The messages are nested too deeply.", "messages") from error
        if isinstance(prompt, TextPrompt):
            return Rendered(self._text(prompt), "no")
        self._check_ids(prompt.tokens, "prompt")
        return Rendered(list(prompt.tokens), "no")

    def _text(self, prompt: TextPrompt) -> list[int]:
        """Raw text, or two with a gap between them. Raises Unsupported."""
        if not prompt.suffix:
            return self._llama.tokenize(prompt.text, add_special=True, parse_special=False)
        if self._llama.infill is None:
            raise Unsupported(
                f"The model '{self._model}' cannot fill in between texts: its file names no tokens "
                "for that. Leave 'suffix' out.",
                "suffix",
            )
        before, after, middle = self._llama.infill
        found = [*self._llama.tokenize("", add_special=True, parse_special=False), before]
        found += self._llama.tokenize(prompt.text, add_special=False, parse_special=False)
        found.append(after)
        found += self._llama.tokenize(prompt.suffix, add_special=False, parse_special=False)
        return [*found, middle]

    def _chat(self, prompt: ChatPrompt) -> Rendered:
        marks: dict[str, str] = {}
        messages: list[dict[str, Any]] = self._marked(
            [self._message(message) for message in prompt.messages], marks
        )
        tools: list[dict[str, Any]] = self._marked([_tool(tool) for tool in prompt.tools], marks)
        calls = any("tool_calls" in message or message["role"] == "tool" for message in messages)
        if not self.form.native and (tools or calls):
            messages = flatten(messages, tools, self.form, system=self._system)
            tools = []
        if not self._system:
            messages = without_system(messages)
        if self._harmony:
            messages = turns_with_one_call(messages)
        elif self.form.native and self.form.between is None:
            messages = one_call_a_turn(messages)
        messages = speaking(messages, self.form)
        variables: dict[str, Any] = self._marked(self._variables(prompt), marks)
        template = self._with_tools if tools or calls else self._template
        text = template.render(messages, tools, variables)
        # A template that writes the BOS itself must not get a second one.
        begins = bool(self._llama.bos) and text.startswith(self._llama.bos)
        tokens: list[int] = []
        parts = re.split(f"({'|'.join(marks)})", text) if marks else [text]
        for number, part in enumerate(parts):
            if part in marks:
                tokens += self._spelled_out(marks[part])
                continue
            tokens += self._llama.tokenize(
                part, add_special=number == 0 and not begins, parse_special=True
            )
        return Rendered(tokens, self._thinking(text))

    def _spelled_out(self, control: str) -> list[int]:
        """Tokens of a text that spells a control token, without that token."""
        tokens = self._llama.tokenize(control, add_special=False, parse_special=False)
        if self._controls.keys().isdisjoint(tokens):
            return tokens
        parts = (control[:1], control[1:])
        return [
            token
            for part in parts
            for token in self._llama.tokenize(part, add_special=False, parse_special=False)
        ]

    def _thinking(self, text: str) -> Thinking:
        """How the prompt leaves the model: some templates begin its thoughts, or end them."""
        if self.reasoning is None:
            return "no"
        if self._harmony:
            return "may"  # each message says what it is
        text = text.rstrip()
        if text.endswith(self.reasoning.opening):
            return "open"
        return "no" if text.endswith(self.reasoning.closing) else "may"

    def _variables(self, prompt: ChatPrompt) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if prompt.effort is not None:
            found = self._effort(prompt.effort)
        for name, value in prompt.variables:
            if name in RESERVED:
                raise InvalidRequest(
                    f"'{name}' cannot be set for the chat template.", "chat_template_kwargs"
                )
            found[name] = json.loads(value)
        return found

    def _effort(self, effort: str) -> dict[str, Any]:
        source = self._template.source
        switches = [name for name in SWITCHES if name in source]
        if effort == "none" and (switches or self.reasoning is None):
            return dict.fromkeys(switches, False)
        if effort != "none" and (switches or EFFORT in source):
            return {EFFORT: effort, **dict.fromkeys(switches, True)}
        known = "does not reason" if self.reasoning is None else "cannot be told how long to reason"
        raise Unsupported(f"This model {known}; leave 'reasoning_effort' out.", "reasoning_effort")

    def _takes(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        try:
            self._template.render(messages)
        except ModelError:
            return False
        return True

    def _message(self, message: Message) -> dict[str, Any]:
        """As templates expect a message: only what it has, and arguments as objects."""
        found: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning:
            found["reasoning_content"] = message.reasoning
        if message.name:
            found["name"] = message.name
        if message.tool_call_id:
            found["tool_call_id"] = self._id(message.tool_call_id)
        if message.tool_calls:
            if self.form.no_content and not message.content:
                found["content"] = None
            found["tool_calls"] = [
                {
                    "id": self._id(call.id),
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments
                        if self.form.text_arguments
                        else _arguments(call.arguments),
                    },
                }
                for call in message.tool_calls
            ]
        return found

    def _id(self, given: str) -> str:
        """A call's id as the template takes it."""
        if not self.form.short_ids or SHORT_ID.fullmatch(given):
            return given
        return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]

    def _marked(self, value: Any, marks: dict[str, str]) -> Any:
        """The value with marks in every text, in the place of what would become control tokens."""
        if isinstance(value, str):
            return self._marked_text(value, marks)
        if isinstance(value, list):
            return [self._marked(each, marks) for each in cast("list[Any]", value)]
        if isinstance(value, dict):
            pairs = cast("dict[str, Any]", value).items()
            return {self._marked(key, marks): self._marked(each, marks) for key, each in pairs}
        return value

    def _marked_text(self, content: str, marks: dict[str, str]) -> str:
        if not any(first in content for first in self._first):
            return content
        while True:
            ids = self._llama.tokenize(content, add_special=False, parse_special=True)
            controls = [self._controls[token] for token in set(ids) if token in self._controls]
            spelled = [text for text in controls if text in content]
            if not spelled:
                return content
            for text in spelled:
                # Digits, so that no template changes them; random, so that nobody guesses them.
                mark = str(10**24 + secrets.randbelow(10**24))
                marks[mark] = text
                content = content.replace(text, mark)


def _turn(role: str) -> dict[str, str]:
    return {"role": role, "content": "hello"}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": json.loads(tool.parameters),
    }
    return {"type": "function", "function": function}


def _arguments(text: str) -> Any:
    """The arguments of a call as an object; what is no object stays the text that it is."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return cast("Any", found) if isinstance(found, dict) else text
