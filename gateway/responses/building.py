"""From the pieces of an answer to the events of a response, and to the response itself. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from gateway.convert.answers import wire_logprobs
from gateway.convert.items import new_item_id
from gateway.convert.responses import wire_usage
from gateway.responses.pieces import (
    Call,
    Cited,
    Ended,
    Piece,
    Refused,
    Searched,
    Searching,
    Text,
    Thought,
)
from gateway.schema.chat import TokenLogprob
from gateway.schema.items import (
    FileCitation,
    FileResult,
    FileSearchCall,
    FunctionCallItem,
    ItemStatus,
    MessageItem,
    OutputText,
    Part,
    ReasoningItem,
    ReasoningText,
    Refusal,
    StoredItem,
)
from gateway.schema.response_events import (
    AnnotationAdded,
    ArgumentsDelta,
    ArgumentsDone,
    ContentPartAdded,
    ContentPartDone,
    FileSearchCompleted,
    FileSearchInProgress,
    FileSearchSearching,
    ItemAdded,
    ItemDone,
    ReasoningDelta,
    ReasoningDone,
    RefusalDelta,
    RefusalDone,
    ResponseCompleted,
    ResponseCreated,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    TextDelta,
    TextDone,
)
from gateway.schema.responses import IncompleteDetails, Response, ResponseError
from models.types import CallDelta

__all__ = ["ResponseBuilder", "shown"]

Events = Iterator[ResponseEvent]


class ResponseBuilder:
    """Takes pieces in their order and numbers the events they make.

    `response` is what there is so far; its output has the items that are whole. `with_results`
    says whether clients see what a search found.
    """

    def __init__(self, head: Response, *, with_results: bool = False) -> None:
        self.response = head
        self._with_results = with_results
        self._number = 0
        self._items: list[StoredItem | None] = []  # by their output_index; None: still open
        self._open: _Message | _Reasoning | _Call | None = None
        self._search: _Search | None = None

    def begin(self) -> Events:
        """What a stream begins with."""
        yield self._event(ResponseCreated, response=self.response)
        yield self._event(ResponseInProgress, response=self.response)

    def add(self, piece: Piece) -> Events:
        """The events of one more piece. `Ended` closes all items; `finish` comes after it."""
        match piece:
            case Searching(queries=queries):
                yield from self._begin_search(queries)
            case Searched(results=results):
                yield from self._end_search(results)
            case Ended():
                yield from self._end(piece)
            case Thought(text=text):
                yield from self._searched()
                yield from self._opened(_Reasoning)
                yield from self._grow(text)
            case Text():
                yield from self._searched()
                yield from self._opened(_Message)
                logprobs = wire_logprobs(piece.logprobs).content if piece.logprobs else []
                yield from self._grow(piece.text, logprobs)
            case Cited(citation=citation):
                yield from self._cite(citation)
            case Call(delta=delta):
                yield from self._call(delta)
            case Refused(text=text):
                yield from self._refuse(text)

    def finish(self, now: int) -> Events:
        """The last event. `now` is in Unix seconds."""
        completed = self.response.status == "completed"
        if completed:
            self.response = replace(self.response, completed_at=now)
        kind = ResponseCompleted if completed else ResponseIncomplete
        yield self._event(kind, response=self._seen(self.response))

    def fail(self, error: ResponseError) -> Events:
        """The last event of a response that broke off. What was whole stays in it."""
        self.response = replace(
            self.response, status="failed", error=error, output=self._whole_items()
        )
        yield self._event(ResponseFailed, response=self._seen(self.response))

    def cancelled(self) -> Response:
        """The response that its client ended. What was whole stays in it."""
        self.response = replace(self.response, status="cancelled", output=self._whole_items())
        return self.response

    def _seen(self, response: Response) -> Response:
        return shown(response, with_results=self._with_results)

    def _event(self, kind: type[Any], **fields: Any) -> ResponseEvent:
        found = kind(sequence_number=self._number, **fields)
        self._number += 1
        return found

    def _place(self) -> int:
        """The output_index of an item that begins."""
        self._items.append(None)
        return len(self._items) - 1

    def _whole_items(self) -> list[StoredItem]:
        return [item for item in self._items if item is not None]

    def _begin_search(self, queries: list[str]) -> Events:
        item = FileSearchCall(id=new_item_id(FileSearchCall), queries=queries, status="in_progress")
        self._search = _Search(item, self._place())
        where = self._search.where
        yield self._event(ItemAdded, item=item, output_index=where["output_index"])
        yield self._event(FileSearchInProgress, **where)
        yield self._event(FileSearchSearching, **where)

    def _searched(self) -> Events:
        """Whatever comes after a search says that it is over; its results may come later."""
        if self._search is not None and not self._search.told:
            self._search.told = True
            yield self._event(FileSearchCompleted, **self._search.where)

    def _end_search(self, results: list[FileResult]) -> Events:
        yield from self._searched()
        search, self._search = self._search, None
        assert search is not None
        item = replace(search.item, status="completed", results=results)
        index = search.where["output_index"]
        self._items[index] = item
        seen = item if self._with_results else replace(item, results=None)
        yield self._event(ItemDone, item=seen, output_index=index)

    def _opened(self, kind: "type[_Message] | type[_Reasoning]") -> Events:
        """An open item of that kind; another kind is closed first."""
        if isinstance(self._open, kind):
            return
        yield from self._close("completed")
        self._open = kind(self._place())
        yield self._event(ItemAdded, item=self._open.item("in_progress"), **self._open.index)
        yield self._event(ContentPartAdded, part=self._open.part(), **self._open.where)

    def _grow(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Events:
        assert isinstance(self._open, _Message | _Reasoning)
        self._open.texts.append(text)
        if isinstance(self._open, _Reasoning):
            yield self._event(ReasoningDelta, delta=text, **self._open.where)
            return
        self._open.logprobs += logprobs
        yield self._event(TextDelta, delta=text, logprobs=[*logprobs], **self._open.where)

    def _cite(self, citation: FileCitation) -> Events:
        assert isinstance(self._open, _Message)
        number = len(self._open.annotations)
        self._open.annotations.append(citation)
        yield self._event(
            AnnotationAdded, annotation=citation, annotation_index=number, **self._open.where
        )

    def _call(self, delta: CallDelta) -> Events:
        yield from self._searched()
        if delta.id:
            yield from self._close("completed")
            self._open = _Call(self._place(), delta)
            yield self._event(ItemAdded, item=self._open.item("in_progress"), **self._open.index)
        assert isinstance(self._open, _Call)
        if delta.arguments:
            self._open.texts.append(delta.arguments)
            yield self._event(ArgumentsDelta, delta=delta.arguments, **self._open.where)

    def _refuse(self, text: str) -> Events:
        yield from self._close("completed")
        index = self._place()
        message = MessageItem(
            id=new_item_id(MessageItem), role="assistant", content=[], status="in_progress"
        )
        where = {"item_id": message.id, "output_index": index}
        yield self._event(ItemAdded, item=message, output_index=index)
        yield self._event(ContentPartAdded, part=Refusal(refusal=""), **where)
        yield self._event(RefusalDelta, delta=text, **where)
        yield self._event(RefusalDone, refusal=text, **where)
        yield self._event(ContentPartDone, part=Refusal(refusal=text), **where)
        message = replace(message, content=[Refusal(refusal=text)], status="completed")
        self._items[index] = message
        yield self._event(ItemDone, item=message, output_index=index)

    def _close(self, status: ItemStatus) -> Events:
        """The end of the open item, if there is one."""
        item, self._open = self._open, None
        if item is None:
            return
        if isinstance(item, _Call):
            if not item.texts:
                item.texts.append("{}")
                yield self._event(ArgumentsDelta, delta="{}", **item.where)
            yield self._event(ArgumentsDone, name=item.call.name, arguments=item.text, **item.where)
        elif isinstance(item, _Message):
            yield self._event(TextDone, text=item.text, logprobs=item.logprobs, **item.where)
            yield self._event(ContentPartDone, part=item.part(), **item.where)
        else:
            yield self._event(ReasoningDone, text=item.text, **item.where)
            yield self._event(ContentPartDone, part=item.part(), **item.where)
        whole = item.item(status)
        self._items[item.index["output_index"]] = whole
        yield self._event(ItemDone, item=whole, **item.index)

    def _end(self, end: Ended) -> Events:
        if self._open is None and not any(
            isinstance(item, MessageItem | FunctionCallItem) for item in self._items
        ):
            yield from self._opened(_Message)  # an answer without a word is still one
        cut = end.reason == "length"
        yield from self._close("incomplete" if cut else "completed")
        self.response = replace(
            self.response,
            status="incomplete" if cut else "completed",
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
            output=self._whole_items(),
            usage=wire_usage(end.usage),
            timings=end.timings,
            ensemble=end.report,
        )


def shown(response: Response, *, with_results: bool) -> Response:
    """A response as a client sees it: with what searches found, or without."""
    if with_results:
        return response
    output = [
        replace(item, results=None) if isinstance(item, FileSearchCall) else item
        for item in response.output
    ]
    return replace(response, output=output)


class _Growing:
    """An item that is not whole yet. `where` is what events inside it say of their place."""

    def __init__(self, kind: type[StoredItem], output_index: int) -> None:
        self.id = new_item_id(kind)
        self.texts: list[str] = []
        self.index: dict[str, Any] = {"output_index": output_index}
        self.where: dict[str, Any] = {"item_id": self.id, **self.index}

    @property
    def text(self) -> str:
        return "".join(self.texts)


class _Message(_Growing):
    def __init__(self, output_index: int) -> None:
        super().__init__(MessageItem, output_index)
        self.annotations: list[FileCitation] = []
        self.logprobs: list[TokenLogprob] = []

    def part(self) -> OutputText:
        return OutputText(text=self.text, annotations=[*self.annotations], logprobs=self.logprobs)

    def item(self, status: ItemStatus) -> MessageItem:
        content: list[Part] = [] if status == "in_progress" else [self.part()]
        return MessageItem(id=self.id, role="assistant", content=content, status=status)


class _Reasoning(_Growing):
    def __init__(self, output_index: int) -> None:
        super().__init__(ReasoningItem, output_index)

    def part(self) -> ReasoningText:
        return ReasoningText(text=self.text)

    def item(self, status: ItemStatus) -> ReasoningItem:
        content = [] if status == "in_progress" else [self.part()]
        return ReasoningItem(id=self.id, content=content, status=status)


class _Call(_Growing):
    def __init__(self, output_index: int, call: CallDelta) -> None:
        super().__init__(FunctionCallItem, output_index)
        self.call = call

    def item(self, status: ItemStatus) -> FunctionCallItem:
        return FunctionCallItem(
            id=self.id,
            call_id=self.call.id,
            name=self.call.name,
            arguments=self.text,
            status=status,
        )


class _Search:
    """A search whose results are not all told yet."""

    def __init__(self, item: FileSearchCall, output_index: int) -> None:
        self.item = item
        self.told = False
        self.where: dict[str, Any] = {"item_id": item.id, "output_index": output_index}
