"""How large a request is, before anything is done with it: its work is done between two steps."""

from collections import Counter

from models.errors import InvalidRequest
from models.types import ChatPrompt, TextPrompt, TokenizeRequest

__all__ = ["check_token_count", "check_tokenize", "cost", "field_at_fault", "least_tokens"]

Text = ChatPrompt | TextPrompt

# What a message, a call or a tool costs besides its text, in characters: it is rendered too.
PART = 16
TOKENIZED_AT_MOST = 4_000_000  # characters of one request to tokenise
SPELLED_AT_MOST = 1_000_000  # ids of one request to detokenise


def cost(prompt: Text) -> int:
    """What it takes to count its tokens, in characters."""
    return sum(_characters(prompt).values()) + PART * _parts(prompt)


def least_tokens(prompt: Text, longest_piece: int) -> int:
    """How many tokens it has at least, those of a vocabulary having so many characters at most."""
    return sum(_characters(prompt).values()) // longest_piece + _parts(prompt)


def field_at_fault(prompt: Text) -> str:
    """What a request calls the largest part of its prompt."""
    sizes = _characters(prompt)
    return max(sizes, key=lambda name: sizes[name])


def check_tokenize(request: TokenizeRequest) -> None:
    """Raise InvalidRequest for more than is tokenised at once."""
    size = cost(request.prompt)
    if size > TOKENIZED_AT_MOST:
        param = "messages" if isinstance(request.prompt, ChatPrompt) else "content"
        raise InvalidRequest(
            f"'{param}' has {size} characters; at most {TOKENIZED_AT_MOST} are tokenised at once. "
            "Cut it.",
            param,
        )


def check_token_count(count: int) -> None:
    """Raise InvalidRequest for more ids than are detokenised at once."""
    if count > SPELLED_AT_MOST:
        raise InvalidRequest(
            f"'tokens' has {count} ids; at most {SPELLED_AT_MOST} are detokenised at once. Cut it.",
            "tokens",
        )


def _characters(prompt: Text) -> Counter[str]:
    """Of all its text, by the field of the request that it came in."""
    if isinstance(prompt, TextPrompt):
        return Counter(prompt=len(prompt.text), suffix=len(prompt.suffix))
    sizes = Counter(messages=0, tools=0, chat_template_kwargs=0)
    for message in prompt.messages:
        sizes["messages"] += len(message.content) + len(message.reasoning) + len(message.name)
        sizes["messages"] += sum(
            len(each.name) + len(each.arguments) for each in message.tool_calls
        )
    for tool in prompt.tools:
        sizes["tools"] += len(tool.name) + len(tool.description) + len(tool.parameters)
    for name, value in prompt.variables:
        sizes["chat_template_kwargs"] += len(name) + len(value)
    return sizes


def _parts(prompt: Text) -> int:
    """Each of them is written with a token of its own at least."""
    if isinstance(prompt, TextPrompt):
        return 0
    return sum(1 + len(message.tool_calls) for message in prompt.messages) + len(prompt.tools)
