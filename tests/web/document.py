"""Reads pages as a browser does: elements, their text and attributes. What would run, or would be fetched, shows up."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

_VOID = {
    "area",
    "base",
    "br",
    "circle",
    "col",
    "hr",
    "img",
    "input",
    "line",
    "link",
    "meta",
    "polygon",
    "polyline",
    "rect",
}


class Element:
    """An element of a page."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def text(self) -> str:
        """Its text, with white space as one space."""
        return " ".join(
            "".join(child if isinstance(child, str) else f" {child.text} " for child in self.children).split()
        )

    def all(self) -> Iterator[Element]:
        """The element, and all below it."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.all()

    def find(self, tag: str = "", *, id: str = "", cls: str = "") -> list[Element]:
        """The elements below with this tag, id and class."""
        return [
            one for one in self.all() if tag in ("", one.tag) and id in ("", one.id) and (not cls or cls in one.classes)
        ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        assert self._open[-1].tag == tag, f"<{self._open[-1].tag}> is closed by </{tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read(html: str) -> Element:
    """The page. `AssertionError` where its elements are not closed in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader._open) == 1, [one.tag for one in reader._open]
    return reader.root


def rows(page: Element) -> list[Element]:
    """The rows of the list of a page."""
    (body,) = page.find(id="rows")
    return [child for child in body.children if isinstance(child, Element)]


def listed(page: Element) -> list[str]:
    """The members in the rows of a list, as its links show them."""
    return ["".join(link.text.split()) for row in rows(page) for link in row.find("a")[:1]]
