"""Prompts to token ids, with the model's own chat template and vocabulary."""

import re
import secrets
from collections.abc import Sequence

from models.chat_template import ChatTemplate
from models.errors import InvalidRequest
from models.types import ChatPrompt, Message, Prompt, TextPrompt
from models.worker.llama import Llama

__all__ = ["Prompts"]


class Prompts:
    """What a message says never becomes a control token: text that spells one stays text.

    Else a user, or a passage of a document, could end its turn and speak as the system.
    """

    def __init__(self, llama: Llama, template: str | None) -> None:
        self._llama = llama
        self._template = ChatTemplate(template or llama.chat_template, llama.bos, llama.eos)
        self._controls = {token: llama.special_text(token) for token in llama.control_tokens}
        self._first = {text[0] for text in self._controls.values() if text}

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt as it is decoded; raises InvalidRequest."""
        if isinstance(prompt, ChatPrompt):
            return self._chat(prompt.messages)
        if isinstance(prompt, TextPrompt):
            return self._llama.tokenize(prompt.text, add_special=True, parse_special=False)
        for token in prompt.tokens:
            if not 0 <= token < self._llama.vocabulary:
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "prompt")
        return list(prompt.tokens)

    def _chat(self, messages: Sequence[Message]) -> list[int]:
        marks: dict[str, str] = {}
        safe = [Message(message.role, self._marked(message.content, marks)) for message in messages]
        text = self._template.render(safe)
        # A template that writes the BOS itself must not get a second one.
        begins = bool(self._llama.bos) and text.startswith(self._llama.bos)
        tokens: list[int] = []
        parts = re.split(f"({'|'.join(marks)})", text) if marks else [text]
        for number, part in enumerate(parts):
            tokens += self._llama.tokenize(
                marks.get(part, part),
                add_special=number == 0 and not begins,
                parse_special=part not in marks,
            )
        return tokens

    def _marked(self, content: str, marks: dict[str, str]) -> str:
        """The content with marks in the place of what would become control tokens."""
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
