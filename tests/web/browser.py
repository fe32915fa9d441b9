"""A real browser: Debian's Chromium without a window, driven by Playwright, which brings none of its own here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium")
AXE = (Path(__file__).parent / "axe.min.js").read_text()
# What is checked of a page, and what is not: the rules of WCAG 2.2, levels A and AA, and good practice.
_AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


class Shape(NamedTuple):
    """A window, and the colours that its user prefers."""

    width: int
    height: int
    scheme: str


WIDE = Shape(1280, 800, "light")
NARROW = Shape(360, 740, "dark")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, until the end of the block."""
    # As root there is no sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of which everything is noted that must not happen: errors, dialogs, requests to other places."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.faults: list[str] = []
        parts = urlsplit(address)
        self._address = f"{parts.scheme}://{parts.netloc}/"
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        page.on("request", self._requested)

    def _said(self, message: ConsoleMessage) -> None:
        # That a member is gone is an answer with 404, a filter with a mistake one with 400, and no fault of the page.
        answered = any(status in message.text for status in ("404 (Not Found)", "400 (Bad Request)"))
        if message.type in ("error", "warning") and not answered:
            self.faults.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(self._address):
            self.faults.append(f"request: {request.url}")

    def check(self) -> None:
        assert self.faults == []


@contextmanager
def opened(browser: Browser, address: str, shape: Shape = WIDE, **context: Any) -> Iterator[Page]:
    """A page of its own context at an address. Fails at the end where the page did what it must not, such as to ask
    another server."""
    viewport: Any = {"width": shape.width, "height": shape.height}
    scheme: Any = shape.scheme
    made = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce", **context)
    try:
        page = made.new_page()
        page.set_default_timeout(20_000)
        watched = Watched(page, address)
        page.goto(address)
        yield page
        watched.check()
    finally:
        made.close()


def violations(page: Page) -> list[str]:
    """What axe finds on a page, each as a line with the rule and the elements."""
    # By the debugger: the page's own policy admits no further script.
    page.evaluate(AXE)
    found = page.evaluate("options => axe.run(document, options)", _AXE_OPTIONS)["violations"]
    return [
        f"{one['id']}: {one['help']}: "
        + "; ".join(f"{node['html'][:120]} {node['failureSummary']}" for node in one["nodes"][:3])
        for one in found
    ]


def is_scrolled_sideways(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def names(page: Page) -> list[str]:
    """The members in the rows of a list."""
    return [text.strip() for text in page.locator("#rows .c-member a").all_inner_texts()]


__all__ = [
    "CHROMIUM",
    "NARROW",
    "WIDE",
    "Error",
    "Shape",
    "chromium",
    "is_scrolled_sideways",
    "names",
    "opened",
    "violations",
]
