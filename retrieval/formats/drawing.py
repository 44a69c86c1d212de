"""Charts and diagrams (SmartArt) of Office files: words and numbers that are saved with them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from retrieval.formats.numbers import shown_number
from retrieval.formats.table import markdown_table

__all__ = ["drawn_text"]

Element = Any  # lxml's, which has no types

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


def drawn_text(element: Element, part: Any, parse: Callable[[bytes], Element]) -> list[str]:
    """A block for each chart and diagram below the element.

    A chart is a table with a column a series, a diagram a list. `part` is the slide or document
    that the element is in: its relations say where they are. One that is damaged is left out.
    """
    blocks: list[str] = []
    for data in element.iter(f"{_DRAWING}graphicData"):
        for tag, name, kind, read in (
            (f"{_CHART}chart", "id", "/chart", _chart),
            (f"{_DIAGRAM}relIds", "dm", "/diagramData", _diagram),
        ):
            found = data.find(tag)
            relation = None if found is None else part.rels.get(found.get(_RELATION + name))
            if relation is None or relation.is_external or not relation.reltype.endswith(kind):
                continue
            with suppress(SyntaxError, ValueError):  # of XML, and of numbers in it
                blocks.append(read(parse(relation.target_part.blob)))
    return [block for block in blocks if block]


def _chart(space: Element) -> str:
    chart = space.find(f"{_CHART}chart")
    if chart is None:
        return ""
    title = _words(chart.find(f"{_CHART}title"))
    series = list(chart.iter(f"{_CHART}ser"))
    columns = [_points(each, "val") or _points(each, "yVal") for each in series]
    labels: dict[int, str] = {}
    for each in series:
        labels = {**(_points(each, "cat") or _points(each, "xVal")), **labels}
    axes = (_words(axis.find(f"{_CHART}title")) for axis in chart.iter(f"{_CHART}catAx"))
    head = [next(axes, ""), *(_name(each) for each in series)]
    rows = [
        [labels.get(at, ""), *(column.get(at, "") for column in columns)]
        for at in sorted({at for column in columns for at in column})
    ]
    table = markdown_table([head, *rows]) if rows else ""
    return "\n\n".join(block for block in (title, table) if block)


def _name(series: Element) -> str:
    said = series.find(f"{_CHART}tx")
    return "" if said is None else " ".join(each.text or "" for each in said.iter(f"{_CHART}v"))


def _points(series: Element, name: str) -> dict[int, str]:
    """What was computed for each place when the file was saved."""
    found = series.find(_CHART + name)
    if found is None:
        return {}
    number_format = found.findtext(f".//{_CHART}formatCode")
    levels = list(found.iter(f"{_CHART}lvl")) or [found]  # of labels in several rows, the first
    values: dict[int, str] = {}
    for point in levels[0].iter(f"{_CHART}pt"):
        place, text = point.get("idx") or "", point.findtext(f"{_CHART}v") or ""
        if place.isdigit():
            values[int(place)] = text if number_format is None else _number(text, number_format)
    return values


def _number(text: str, number_format: str) -> str:
    try:
        return shown_number(float(text), number_format)
    except ValueError:
        return text


def _diagram(model: Element) -> str:
    """Its texts as a list, each followed by what hangs on it."""
    texts = {point.get("modelId"): _words(point) for point in model.iter(f"{_DIAGRAM}pt")}
    below: dict[str, list[tuple[int, str]]] = defaultdict(list)
    children: set[str] = set()
    for line in model.iter(f"{_DIAGRAM}cxn"):
        if line.get("type", "parOf") == "parOf":
            below[line.get("srcId")].append((int(line.get("srcOrd") or 0), line.get("destId")))
            children.add(line.get("destId"))
    told = _in_order([point for point in texts if point not in children], below)
    return "\n".join(f"- {texts[point]}" for point in told if texts.get(point))


def _in_order(roots: list[str], below: dict[str, list[tuple[int, str]]]) -> Iterator[str]:
    seen: set[str] = set()
    waiting = list(reversed(roots))
    while waiting:
        point = waiting.pop()
        if point not in seen:
            seen.add(point)
            yield point
            waiting += [child for _, child in sorted(below.get(point, []), reverse=True)]


def _words(element: Element | None) -> str:
    if element is None:
        return ""
    paragraphs = element.iter(f"{_DRAWING}p")
    lines = ("".join(run.text or "" for run in each.iter(f"{_DRAWING}t")) for each in paragraphs)
    return " ".join(" ".join(lines).split())
