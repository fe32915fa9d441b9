"""The pages in a real browser: what is live, what keys do, what a thousand hostile members do not."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from adsum import Registry
from tests.support import Agent, end_registrar, kill_registrar, remove_folder

from .browser import CHROMIUM, NARROW, WIDE, Shape, chromium, is_scrolled_sideways, names, opened, violations
from .server import Server
from .team import running, sleeping
from .test_pages import register_hostile

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (Debian: chromium)")
# Tests beyond the first look: only by `make test-web`.
more = pytest.mark.browser

# A server that writes asks for it; the first address gives it.
TOKEN = {"ADSUM_WEB_TOKEN": "a secret of more than sixteen characters"}
LOGIN = f"login?token={quote(TOKEN['ADSUM_WEB_TOKEN'])}"
VIEWS = ["", "departures", "events", "team?wanted=planning+coding:2+translation", "registry"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module; each opens pages in a context of its own."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The list of members, live."""
    with opened(browser, server.url) as page:
        _is_live(page)
        yield page


def _is_live(page: Page) -> None:
    expect(page.locator("#state")).to_have_text("Live")


@pytest.mark.parametrize(
    "shape",
    [
        WIDE,
        pytest.param(NARROW, marks=pytest.mark.browser),
        pytest.param(Shape(1280, 800, "dark"), marks=pytest.mark.browser),
        pytest.param(Shape(360, 740, "light"), marks=pytest.mark.browser),
    ],
    ids=str,
)
def test_every_view_can_be_used_by_all(
    browser: Browser, registry: Registry, registry_folder: Path, shape: Shape
) -> None:
    """No view has a fault that axe finds, in light and in dark, and none is wider than a window of 360 pixels."""
    with running(registry) as processes, Server(registry_folder, "--allow-writes", env=TOKEN) as server:
        processes["coder-6"].kill()
        processes["coder-6"].wait()
        member = f"members/default/{registry.node}/coder-1"
        gone = f"members/default/{registry.node}/coder-6"
        with opened(browser, server.url + LOGIN, shape) as page:
            for view in (*VIEWS, member, gone):
                page.goto(server.url + view)
                _is_live(page)
                assert not is_scrolled_sideways(page), view
                assert violations(page) == [], view
                page.set_viewport_size({"width": NARROW.width, "height": NARROW.height})
                assert not is_scrolled_sideways(page), view
                page.set_viewport_size({"width": shape.width, "height": shape.height})


def test_rows_change_in_place(registry: Registry, page: Page) -> None:
    """A member that registers appears at its place, one that changes is changed where it is, and one that dies or
    leaves goes, without the page being read again; the counts follow."""
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#empty")).to_be_visible()
    with sleeping() as process:
        for name in ("w-10", "w-2", "w-1"):
            registry.register(name, process if name == "w-2" else None, doing="resting")
        expect(page.locator("#rows tr")).to_have_count(3)
        expect(page.locator("#empty")).to_be_hidden()
        assert names(page) == ["w-1", "w-2", "w-10"]
        registry.update("w-10", doing="working", health_status="degraded")
        row = page.locator("#rows tr").nth(2)
        expect(row).to_contain_text("working")
        expect(row).to_contain_text("degraded")
        expect(page.locator(".figure.lead .value")).to_have_text("3")
        process.kill()
        process.wait()
        expect(page.locator("#rows tr")).to_have_count(2)
    registry.unregister("w-1")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#facets .total")).to_have_text("1 of 1")
    expect(page.locator(".latest")).to_contain_text("SIGKILL")
    assert page.evaluate("window.sameDocument")


def test_a_filter_is_in_the_address(registry: Registry, page: Page) -> None:
    """What is typed and clicked filters the rows and is in the address; back and reload lead to the same rows, and what
    does not match does not come."""
    registry.register("planner", capabilities={"planning"}, resources={"tokens": 2000})
    registry.register("coder", capabilities={"coding"}, resources={"tokens": 500})
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator("#q").press_sequentially("tokens>=1000")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?q=tokens%3E%3D1000$"))
    assert names(page) == ["planner"]
    registry.register("tester", resources={"tokens": 1500})
    expect(page.locator("#rows tr")).to_have_count(2)
    registry.register("other")
    registry.update("planner", resources={"tokens": 1})
    expect(page.locator("#rows tr")).to_have_count(1)
    page.reload()
    assert names(page) == ["tester"]
    page.locator("#q").fill("")
    expect(page.locator("#rows tr")).to_have_count(4)
    page.locator(".chip", has_text="planning").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"capability=planning"))
    page.go_back()
    expect(page.locator("#rows tr")).to_have_count(4)
    page.locator("th a", has_text="Member").click()
    expect(page).to_have_url(re.compile("sort=-id"))
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    assert names(page) == ["tester", "planner", "other", "coder"]


def test_a_mistake_in_the_filter_is_explained(registry: Registry, page: Page) -> None:
    """A condition that is not whole yet is explained below the filter; the rows stay, and the text too."""
    registry.register("worker", resources={"tokens": 5})
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#q").press_sequentially("tokens>=")
    expect(page.locator("#problem")).to_contain_text("is no number")
    expect(page.locator("#q")).to_have_value("tokens>=")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#q").press_sequentially("5")
    expect(page.locator("#problem")).to_be_hidden()


@more
def test_pause_and_resume(registry: Registry, page: Page) -> None:
    """While the page is paused nothing changes on it; when it resumes, it has what was missed."""
    registry.register("a", doing="one")
    expect(page.locator("#rows")).to_contain_text("one")
    page.locator("#pause").click()
    expect(page.locator("#state")).to_have_text("Paused")
    registry.update("a", doing="two")
    registry.register("b")
    page.wait_for_timeout(700)
    expect(page.locator("#rows")).to_contain_text("one")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#pause").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#rows")).to_contain_text("two")


def test_the_keyboard_is_enough(registry: Registry, page: Page) -> None:
    """With keys alone a user skips to the content, filters, sorts, opens a member and comes back; a row keeps the focus
    when it changes."""
    registry.register("worker", doing="one")
    registry.register("zebra")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    seen: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("(document.activeElement.textContent || document.activeElement.id).trim().split(/\\s/)[0]")
        )
        if page.evaluate("document.activeElement.textContent.trim() === 'worker'"):
            break
    assert {"q", "Filter", "all", "healthy", "Member", "Health", "worker"} <= seen
    registry.update("worker", doing="two")
    expect(page.locator("#rows")).to_contain_text("two")
    expect(page.locator("#rows a", has_text="worker")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("worker")
    page.go_back()
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator("#pause").focus()
    page.keyboard.press("Space")
    expect(page.locator("#state")).to_have_text("Paused")
    page.locator("#q").focus()
    page.keyboard.type("zebra")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_have_count(1)


def test_without_a_script(browser: Browser, registry: Registry, server: Server) -> None:
    """A browser without JavaScript shows every view, filters by the form, sorts and follows chips."""
    registry.register("worker", capabilities={"coding"})
    registry.register("other")
    with opened(browser, server.url, java_script_enabled=False) as page:
        assert names(page) == ["other", "worker"]
        expect(page.locator("#pulse")).to_be_hidden()
        page.locator("#q").fill("work")
        page.locator("#q").press("Enter")
        assert names(page) == ["worker"]
        page.locator(".chip", has_text="coding").click()
        assert names(page) == ["worker"]
        assert "q=work" in page.url
        assert "capability=coding" in page.url
        for view in VIEWS:
            page.goto(server.url + view)
            expect(page.locator("h1")).to_have_count(1)


@more
def test_hostile_members_do_nothing(browser: Browser, registry: Registry, server: Server) -> None:
    """A thousand members whose text tries to be markup or a script run nothing, ask for nothing and break no page, when
    the page is read and when they come live; `opened` fails at the first error, dialog or foreign request."""
    with opened(browser, server.url) as page:
        _is_live(page)
        register_hostile(registry, 1000)
        expect(page.locator("#rows tr")).to_have_count(1000)
        page.goto(server.url)
        expect(page.locator("#rows tr")).to_have_count(1000)
        for view in VIEWS[1:]:
            page.goto(server.url + view)
            _is_live(page)
        page.goto(server.url)
        page.locator("#rows a").nth(1).click()
        expect(page.locator("#member h1")).to_have_count(1)
        assert page.locator("h1").count() == 1
        assert page.locator("script:not([src])").count() == 0


@more
def test_ten_pages_at_once(browser: Browser, registry: Registry, server: Server) -> None:
    """Ten pages of one browser are all live, though it opens no more than six connections to a server."""
    views = ["", "?q=a", "events", "departures", "team", "registry", "?sort=-id", "?sort=up", "events?kind=updated", ""]
    context = browser.new_context()
    try:
        pages = [context.new_page() for _ in views]
        for page, view in zip(pages, views, strict=True):
            page.goto(server.url + view)
        for page in pages:
            _is_live(page)
        registry.register("a", capabilities={"juggling"}).update(doing="all at once")
        for page, view in zip(pages, views, strict=True):
            text = {"departures": None, "registry": "updated", "team": "juggling"}.get(view, "all at once")
            if text is not None:
                expect(page.locator("#live")).to_contain_text(text)
        registry.unregister("a")
        expect(pages[3].locator("#rows")).to_contain_text("unregistered")
        expect(pages[0].locator("#empty")).to_be_visible()
    finally:
        context.close()


@more
def test_across_restarts(browser: Browser, registry: Registry, registry_folder: Path) -> None:
    """A page that stays open goes on across a killed registrar, a killed server, and a registry that is made anew."""
    registry.register("a")
    with Server(registry_folder) as server:
        listen = f"127.0.0.1:{server.port}"
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        _is_live(page)
        kill_registrar(registry_folder)
        registry.register("b")
        expect(page.locator("#rows tr")).to_have_count(2)
        server.child.kill()
    expect(page.locator("#state")).to_have_text("Reconnecting")
    registry.register("c")
    with Server(registry_folder, listen=listen) as server:
        expect(page.locator("#rows tr")).to_have_count(3, timeout=20_000)
        end_registrar(registry_folder)
        registry.close()
        remove_folder(registry_folder)
        with Agent(registry_folder) as agent:
            agent.do("registry.register('new')")
            expect(page.locator("#rows tr")).to_have_count(1, timeout=20_000)
            assert names(page) == ["new"]
            agent.do("registry.register('newer')")
            expect(page.locator("#rows tr")).to_have_count(2)
        server.child.signal(signal.SIGTERM)
        assert server.child.wait() == 0
    context.close()


@more
def test_a_member_is_changed_and_removed(browser: Browser, registry: Registry, registry_folder: Path) -> None:
    """Where writes are allowed, buttons on a member's page set its health, and unregister it after a second step."""
    registry.register("worker")
    with Server(registry_folder, "--allow-writes", env=TOKEN) as server:
        with opened(browser, server.url + LOGIN) as page:
            page.goto(f"{server.url}members/default/{registry.node}/worker")
            _is_live(page)
            page.get_by_role("button", name="degraded").click()
            expect(page.locator(".summary .health")).to_have_text("degraded")
            assert registry["worker"].metadata.health_status == "degraded"
            expect(page.get_by_role("button", name="Remove the entry")).to_be_hidden()
            page.get_by_text("Unregister", exact=True).click()
            page.wait_for_timeout(1500)
            page.get_by_role("button", name="Remove the entry").click()
            expect(page.locator(".summary")).to_contain_text("not here")
        assert "worker" not in registry


@more
def test_the_lines_are_copied(browser: Browser, registry: Registry, server: Server) -> None:
    """The buttons beside the lines of a member's page put them on the clipboard."""
    registry.register("worker")
    address = f"{server.url}members/default/{registry.node}/worker"
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator("button[data-copy=python]").click()
        expect(page.locator("button[data-copy=python]")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.locator("#python").inner_text()


@more
def test_the_token_is_asked_for(browser: Browser, registry: Registry, registry_folder: Path) -> None:
    """A browser gives the token in a form, once, and is led to where it wanted; then its pages are live."""
    registry.register("worker")
    token = "a secret of more than sixteen characters"
    with (
        Server(registry_folder, "--prefix", "/x", env={"ADSUM_WEB_TOKEN": token}) as server,
        opened(browser, f"{server.url}?q=work") as page,
    ):
        expect(page.locator("h1")).to_have_text("Give the token")
        assert violations(page) == []
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{server.url}?q=work")
        _is_live(page)
        registry.register("worker-2")
        expect(page.locator("#rows tr")).to_have_count(2)


@more
def test_the_audit_button(registry: Registry, browser: Browser, server: Server) -> None:
    """The button runs the audit, and the result appears beside it, on the same page."""
    registry.register("worker")
    with opened(browser, f"{server.url}registry") as page:
        page.evaluate("window.sameDocument = true")
        page.get_by_role("button", name="Run the audit").click()
        expect(page.locator("#audit")).to_contain_text("Sound at")
        assert page.evaluate("window.sameDocument")
