"""The pages can be read where the repository is shown, not only where Sphinx builds them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
# What only MyST understands: a directive, a role, a target.
_MYST = re.compile(r"^(?:```|:::)\{.*|\{[\w:]+\}`.*|^\(\S+\)=$", re.MULTILINE)


def _links(page: Path) -> set[tuple[Path, str]]:
    """The files that a page links to, each with the anchor, which may be empty."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    return {((page.parent / path).resolve() if path else page, anchor) for path, anchor in _LINK.findall(text)}


def _reached() -> list[Path]:
    """The README, and all pages that are reached from it by links."""
    found, new = set(), {README}
    while new:
        found |= new
        new = {path for page in new for path, _ in _links(page) if path.suffix == ".md"} - found
    return sorted(found)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = _reached()


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_every_page_is_reached_from_the_readme() -> None:
    """All pages but the front page of the built documentation."""
    pages = {_name(page) for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts}
    assert pages - {_name(page) for page in PAGES} == {"docs/index.md"}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_is_plain_markdown(page: Path) -> None:
    """A page has no directive or role of MyST, which a forge would show as code."""
    assert _MYST.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Each link names a file of the repository, and a heading in it."""
    for path, anchor in _links(page):
        assert path.exists(), path
        assert not anchor or anchor in _anchors(path), f"{path}#{anchor}"
