"""One question to an OpenAI-compatible endpoint, and its answer as a record."""

import json
import time
from typing import Any, cast

import msgspec
import openai

from clients.answer import Answer, decoded
from clients.api import explain
from clients.evaluation import wattbot
from clients.evaluation.experiment import Record
from clients.evaluation.settings import ExperimentSettings, Price

__all__ = ["Unreachable", "ask"]

TIMES = ("queue_ms", "retrieval_ms", "vote_ms", "prefill_ms", "decode_ms")
Response = openai.AsyncAPIResponse[bytes]
FIELDS = ("answer", "answer_value", "answer_unit", "explanation", "supporting_materials")


class Unreachable(Exception):
    """Nobody answers at the address, after all retries: the run stops and can be resumed."""


async def ask(
    client: openai.AsyncOpenAI, settings: ExperimentSettings, url: str, id_: str, question: str
) -> Record:
    """Ask and wait. What the endpoint refuses is the record's error. Raises Unreachable."""
    record = Record(id=id_, question=question, model=settings.model)
    messages: list[dict[str, str]] = []
    if settings.system:
        messages.append({"role": "system", "content": settings.system})
    # Not str.format: a template may hold the braces of a JSON example.
    content = settings.prompt.replace("{question}", question)
    messages.append({"role": "user", "content": content})
    body: dict[str, Any] = {"model": settings.model, "messages": messages, **settings.request}
    if settings.ensemble is not None:
        body["ensemble"] = msgspec.to_builtins(settings.ensemble)
    begun = time.perf_counter()
    try:
        # Not chat.completions.create: what it makes of messages and answers takes twice as long as
        # all else, and nothing here needs it.
        response = await client.post("/chat/completions", body=body, cast_to=Response)
        record.attempts = 1 + response.retries_taken
        answer = decoded(await response.read())
    except openai.APITimeoutError:
        record.error = f"no answer within {settings.timeout_s:g} s"
    except openai.APIConnectionError as error:
        raise Unreachable(explain(error, url)) from error
    except openai.OpenAIError as error:
        record.error = explain(error, url)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        record.error = f"the endpoint's answer is no chat completion: {error}"
    else:
        _take(record, answer, settings.price)
    record.latency_ms = (time.perf_counter() - begun) * 1000
    return record


def _take(record: Record, answer: Answer, price: Price | None) -> None:
    record.raw = answer.answer
    record.answer = answer.answer
    report = answer.report()
    if report is not None:
        record.ensemble = answer.ensemble
        record.answer_value, record.answer_unit = report.answer_value, report.answer_unit
        record.is_blank, record.ref_id = report.is_blank, list(report.ref_id)
        record.explanation = report.explanation
        shown = {source.document_id: source for source in reversed(report.sources)}
        cited = [shown[one] for one in report.ref_id if one in shown]
        record.supporting_materials = "\n".join(source.text for source in cited)
    else:
        _take_text(record, answer.answer)
    if not record.is_blank and not record.answer_value.strip():
        record.answer_value = answer.answer
    record.is_blank = record.is_blank or wattbot.is_blank(record.answer_value)
    _take_figures(record, answer, price)


def _take_text(record: Record, text: str) -> None:
    """A JSON object's fields, also inside a Markdown fence; else the whole text is the value."""
    plain = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        found: object = json.loads(plain)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        record.answer_value = text.strip()
        return
    fields = cast("dict[str, object]", found)
    for name in FIELDS:
        value = fields.get(name)
        if value is not None:
            setattr(record, name, value if isinstance(value, str) else json.dumps(value))
    record.is_blank = fields.get("is_blank") is True
    addresses = fields.get("ref_url")
    if isinstance(addresses, list):
        record.ref_url = [str(one) for one in cast("list[object]", addresses)]
    elif isinstance(addresses, str) and not wattbot.is_blank(addresses):
        record.ref_url = [addresses.strip()]
    documents = fields.get("ref_id")
    if isinstance(documents, list):
        record.ref_id = [str(one) for one in cast("list[object]", documents)]
    elif isinstance(documents, str):
        record.ref_id = sorted(wattbot.references(documents))


def _take_figures(record: Record, answer: Answer, price: Price | None) -> None:
    usage, timings = answer.usage or {}, answer.timings or {}
    record.prompt_tokens = _count(usage.get("prompt_tokens"))
    record.completion_tokens = _count(usage.get("completion_tokens"))
    told = {name: timings.get(name) for name in TIMES}  # other servers time other things
    record.timings = {name: float(ms) for name, ms in told.items() if isinstance(ms, int | float)}
    cost = usage.get("cost")  # some routers of models say it
    if isinstance(cost, int | float):
        record.cost = float(cost)
    elif price is not None and record.prompt_tokens is not None:
        tokens = record.prompt_tokens, record.completion_tokens or 0
        record.cost = (tokens[0] * price.prompt + tokens[1] * price.completion) / 1e6


def _count(told: object) -> int | None:
    return told if isinstance(told, int) else None
