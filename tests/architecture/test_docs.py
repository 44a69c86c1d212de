"""Every relative link of the documentation leads to a file, and to a heading of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "clients").rglob("*.md")),
]
# [text](target "title"), ![image](<target>) and [name]: target.
INLINE = re.compile(r"\]\(\s*(<[^<>\n]*>|[^\s()]+)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*(<[^<>\n]*>|\S+)", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
ANCHOR = re.compile(r"""<a\s+(?:id|name)=["']([^"']+)""")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
BLOCK = re.compile(r"^( {0,3})(```+|~~~+).*?(?:^ {0,3}\2|\Z)", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def links(text: str) -> Iterator[str]:
    """Targets on this machine; code is no link."""
    prose = SPAN.sub("", BLOCK.sub("", text))
    for pattern in (INLINE, DEFINITION):
        for target in pattern.findall(prose):
            if not ELSEWHERE.match(target.strip("<>")):
                yield unquote(target.strip("<>"))


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them: a second one of a name has -1 after it."""
    found: set[str] = set(ANCHOR.findall(text))
    for heading in HEADING.findall(BLOCK.sub("", text)):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        count = 0
        while (anchor := f"{name}-{count}" if count else name) in found:
            count += 1
        found.add(anchor)
    return found


def leads(page: Path, link: str) -> bool:
    """Whether a link of a page leads to a file of the repository, and to a heading it names."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page.read_text()) if not leads(page, link)] == []


def test_there_are_links_to_look_at() -> None:
    assert len(PAGES) > 5
    assert sum(len(list(links(page.read_text()))) for page in PAGES) > 5


def test_what_is_a_link_and_an_anchor() -> None:
    text = (
        "# The `one` & only\n## Twice\n## Twice\n```\n# no [code](code.md)\n```\n"
        "[a](b.md#c) `[code](code.md)` ![i](<d e.png> 'title') [f](https://x.y) [r]\n\n"
        "[r]: g%20h.md\n"
    )
    assert list(links(text)) == ["b.md#c", "d e.png", "g h.md"]
    assert anchors(text) == {"the-one--only", "twice", "twice-1"}
