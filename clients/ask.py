"""`jurat ask`: one question; prints the deliberation, the answer, its sources and the votes."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam

from clients.answer import Answer, Collector, Listener, whole
from clients.api import ClientError, add_gateway_options, connect, explain, gateway_url, run_client
from clients.show import Printer, console

__all__ = ["main", "parser", "request"]

DEFAULT_MODEL = "rag-ensemble"
EPILOG = """examples:
  jurat ask "How long is the warranty of a laptop?"
  jurat ask --members smollm2-135m --top-k 3 "What does error E42 mean?"
  echo "Which port does the printer use?" | jurat ask --json -
"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    return run_client("ask", lambda: ask(options))


def parser() -> argparse.ArgumentParser:
    """The options of `jurat ask`."""
    made = argparse.ArgumentParser(
        prog="jurat ask",
        description="Ask a gateway one question.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("question", help="the question; - reads it from standard input")
    made.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    add_gateway_options(made)
    made.add_argument(
        "--store", action="append", metavar="ID", help="vector store to search; may be repeated"
    )
    made.add_argument("--top-k", type=positive, metavar="N", help="passages to show the members")
    made.add_argument("--members", type=names, metavar="A,B", help="models that vote")
    made.add_argument("--system", metavar="TEXT", help="a system message")
    made.add_argument("--max-tokens", type=positive, metavar="N")
    made.add_argument("--no-stream", action="store_true", help="wait for the whole answer")
    made.add_argument("--quiet", action="store_true", help="print the answer alone")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def ask(options: argparse.Namespace) -> int:
    """Send the question and print what comes. Raises ClientError."""
    url = gateway_url(options.url)
    body = request(options, question(options.question))
    printer = Printer(console(), quiet=options.quiet)
    silent = options.json or options.no_stream
    client = connect(url, options.api_key)
    try:
        if options.no_stream:
            answer = whole(client.chat.completions.create(**body, stream=False))
        elif silent:
            answer = streamed(client, body, _ignore, _ignore)
        else:
            answer = streamed(client, body, printer.reasoning, printer.answer)
    except openai.OpenAIError as error:
        raise ClientError(explain(error, url)) from error
    except ValueError as error:  # a body that is not JSON
        raise ClientError(f"{url} does not speak the OpenAI API: {error}.") from error
    finally:
        client.close()
    if options.json:
        sys.stdout.write(answer.as_json().decode() + "\n")
        return 0
    if silent:
        printer.reasoning(answer.reasoning)
        printer.answer(answer.answer)
    printer.end(answer)
    return 0


def streamed(
    client: openai.OpenAI, body: dict[str, Any], on_reasoning: Listener, on_answer: Listener
) -> Answer:
    """Stream an answer to the listeners and return it whole."""
    collector = Collector(on_reasoning, on_answer)
    with client.chat.completions.create(
        **body, stream=True, stream_options={"include_usage": True}
    ) as chunks:
        for chunk in chunks:
            collector.add(chunk)
    answer = collector.answer()
    if answer.finish_reason is None:
        raise ClientError("The stream ended before the answer did.")
    return answer


def request(options: argparse.Namespace, text: str) -> dict[str, Any]:
    """The arguments of the SDK's call."""
    messages: list[ChatCompletionMessageParam] = []
    if options.system:
        messages.append({"role": "system", "content": options.system})
    messages.append({"role": "user", "content": text})
    body: dict[str, Any] = {"model": options.model, "messages": messages}
    if options.max_tokens is not None:
        body["max_completion_tokens"] = options.max_tokens
    override = {
        "members": options.members,
        "vector_store_ids": options.store,
        "top_k": options.top_k,
    }
    given = {name: value for name, value in override.items() if value is not None}
    if given:
        body["extra_body"] = {"ensemble": given}
    return body


def question(given: str) -> str:
    """The question, from standard input where it is `-`. Raises ClientError."""
    text = (sys.stdin.read() if given == "-" else given).strip()
    if not text:
        raise ClientError("The question is empty.")
    return text


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def names(text: str) -> list[str]:
    """Names separated by commas, for argparse."""
    found = [name for part in text.split(",") if (name := part.strip())]
    if not found:
        raise argparse.ArgumentTypeError("no name given")
    return found


def _ignore(_text: str) -> None:
    pass
