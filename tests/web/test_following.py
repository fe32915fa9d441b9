"""What a page follows leads to what it would show if it were read anew, whatever happens and whatever it misses."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

import adsum.web
from adsum import Entry, Registry
from adsum.web import broadcast
from adsum.web.broadcast import Subscription
from adsum.web.selection import parse_selection
from adsum.web.site import WebSite
from adsum.web.streams import TOPICS, EventStreamTopic
from tests.support import WITHIN, eventually_awaited

from .document import read, rows
from .team import sleeping


class Screen:
    """A page, as the script keeps it: its rows by key, in order, and its parts."""

    def __init__(self, app: Starlette, topic: str) -> None:
        self.site: WebSite = app.state.site
        self.name, _, self.query = topic.partition("?")
        self.client = TestClient(app)
        self.path = "/" if self.name == "members" else f"/{self.name}"
        self.rows = self.fresh()
        self.parts: dict[str, str] = {}
        self.since = self.site.broadcaster.catch_up()
        key, made = TOPICS[self.name](self.site, "", QueryParams(self.query))
        self.subscription: Subscription = self.site.broadcaster.subscribe({"t0": (key, made)})

    def fresh(self) -> dict[str, str]:
        """The rows of the page, read anew."""
        answer = self.client.get(f"{self.path}?{self.query}")
        return {row.id: _without_ages(row.text) for row in rows(read(answer.text))}

    def apply(self, data: Any) -> None:
        """What live.js does with a message."""
        for key in data.get("gone", []):
            self.rows.pop(key, None)
        for key, html, *before in data.get("rows", []):
            if key in self.rows or before:
                self._put(key, html, before[0] if before else "")
        for key, html in data.get("prepend", []):
            self._put(key, html, next(iter(self.rows), ""))
        self.parts |= data.get("parts", {})

    def _put(self, key: str, html: str, before: str) -> None:
        text = _without_ages(read(f"<table><tbody id='rows'>{html}</tbody></table>").text)
        if key in self.rows:
            self.rows[key] = text
            return
        items = list(self.rows.items())
        place = next((n for n, (name, _) in enumerate(items) if name == before), len(items))
        self.rows = dict([*items[:place], (key, text), *items[place:]])

    async def catch_up(self) -> None:
        """Apply the messages until the page is as it would be if it were read anew."""
        async with asyncio.timeout(WITHIN):
            while self.rows != self.fresh():
                await self.take()

    async def take(self, seconds: float = 0.2) -> bool:
        """Apply the messages that come within so many seconds."""
        messages = await self.subscription.wait(seconds)
        assert messages is not None
        for message in messages:
            fields = dict(line.split(": ", 1) for line in message.decode().strip().splitlines())
            assert fields["event"] == "t0"
            self.apply(json.loads(fields["data"]))
        return bool(messages)

    def close(self) -> None:
        self.site.broadcaster.unsubscribe(self.subscription)
        self.client.close()


def _without_ages(text: str) -> str:
    """The text of a row without what grows by itself."""
    return re.sub(r"\b\d+(?:s|m\d\d|h\d\d|d\d\d)\b", "", text)


TOPIC_NAMES = [
    "members?",
    "members?sort=-id",
    "members?health=healthy&sort=health",
    "members?q=a+n>=3&sort=-n",
    "members?capability=x&namespace=default",
    "departures?",
    "departures?how=unregistered",
    "events?",
    "events?kind=updated&q=a",
]


@pytest.mark.parametrize("topic", TOPIC_NAMES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_page_that_follows_equals_one_that_is_read(registry: Registry, topic: str, seed: int) -> None:
    """After any registrations, updates, removals and deaths, the rows that a page has followed are those of the page
    read anew. Rows that are in another place by a new value stay where they are, so their order is compared where
    nothing of it changes."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    change = _changes(registry, chance)
    for _ in range(10):
        change()
    screen = Screen(adsum.web.app(registry), topic)
    try:
        for _ in range(40):
            change()
            if chance.random() < 0.3:
                await screen.take(0.05)
        async with asyncio.timeout(WITHIN):
            while set(screen.rows.items()) != set(screen.fresh().items()):
                await screen.take()
        if "sort=" not in topic or "id" in topic:
            assert list(screen.rows) == list(screen.fresh())
    finally:
        screen.close()


def _changes(registry: Registry, chance: random.Random) -> Callable[[], None]:
    names = [("default", registry.node, name) for name in ("a-1", "a-2", "a-10", "b-1", "ab")]
    names += [("other", registry.node, name) for name in ("a-1", "c")]

    def change() -> None:
        name = chance.choice(names)
        metadata: dict[str, Any] = {
            "health_status": chance.choice(["healthy", "degraded", "unhealthy"]),
            "capabilities": set(chance.sample(["x", "y"], chance.randint(0, 2))),
            "resources": {"n": chance.randint(1, 5)},
        }
        if registry.lookup(name) is None:
            if chance.random() < 0.2:
                with sleeping() as child:
                    registry.register(name, child, **metadata)
                    child.kill()
            else:
                registry.register(name, **metadata)
        elif chance.random() < 0.6:
            registry.update(name, **metadata)
        else:
            registry.unregister(name)

    return change


async def test_parts_follow_too(registry: Registry) -> None:
    """The figures and chips of a list follow its members."""
    screen = Screen(adsum.web.app(registry), "members?")
    try:
        registry.register("a", capabilities={"x"})
        async with asyncio.timeout(WITHIN):
            while "1 of 1" not in read(screen.parts.get("facets", "")).text:
                await screen.take()
        assert "1 living member" in read(screen.parts["figures"]).text
    finally:
        screen.close()


@pytest.mark.parametrize("name", ["team", "registry", "member"])
async def test_pages_of_parts_follow(registry: Registry, name: str) -> None:
    """The team, the registry's figures and a member follow what they show, gauges included."""
    app = adsum.web.app(registry)
    site: WebSite = app.state.site
    query = f"path=default/{registry.node}/a" if name == "member" else ""
    key, topic = TOPICS[name](site, "", QueryParams(query))
    subscription = site.broadcaster.subscribe({"t0": (key, topic)})
    shown = ""
    try:
        registry.register("a", capabilities={"juggling"}, gauges={"load": 0.5})

        async def until(text: str) -> None:
            nonlocal shown
            async with asyncio.timeout(WITHIN):
                while text not in shown:
                    for message in await subscription.wait(0.2) or ():
                        data = json.loads(message.decode().split("data: ", 1)[1])
                        shown = "".join(read(html).text for html in data["parts"].values())

        await until({"team": "juggling", "registry": "entries 1", "member": "juggling"}[name])
        if name == "member":
            registry.set_gauge("a", "load", 0.75)
            await until("load=0.75")
            registry.unregister("a")
            await until("not here")
    finally:
        site.broadcaster.unsubscribe(subscription)


async def test_a_death_that_no_registrar_removes_is_shown(registry: Registry) -> None:
    """While no registrar runs, the row of a member that dies goes too: the list has the living only."""
    with sleeping() as child, sleeping() as other:
        registry.register("worker", child)
        registry.register("other", other)
        adsum.admin.stop_registrar(registry.folder)
        screen = Screen(adsum.web.app(registry), "members?")
        try:
            assert len(screen.rows) == 2
            child.kill()
            child.wait()
            await screen.catch_up()
            assert [text.split()[0] for text in screen.rows.values()] == ["other"]
        finally:
            screen.close()
            other.kill()


async def test_gauges_and_heartbeats_are_followed(registry: Registry) -> None:
    """A gauge that a member sets in shared memory, which is no change of the registry, reaches the row."""
    registry.register("worker", gauges={"load": 0.0})
    screen = Screen(adsum.web.app(registry), "members?")
    try:
        registry.set_gauge("worker", "load", 0.7)
        await screen.catch_up()
        assert "load=0.7" in next(iter(screen.rows.values()))
    finally:
        screen.close()


async def test_a_death_is_sent_before_other_changes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """While many changes wait to be sent together, a row that has to go does not wait with them."""
    monkeypatch.setattr("adsum.web.member_list.BATCH_SECONDS", 60.0)
    registry.register("a")
    registry.register("b")
    screen = Screen(adsum.web.app(registry), "members?")
    try:
        # The first message after a pause is sent at once.
        registry.update("a", doing="sent")
        await screen.catch_up()
        registry.update("a", doing="waiting to be sent")
        registry.unregister("b")
        async with asyncio.timeout(WITHIN):
            while len(screen.rows) > 1:
                await screen.take()
    finally:
        screen.close()


async def test_an_exit_that_becomes_known_later_is_added(registry: Registry) -> None:
    """The rows of a death get its exit when the parent has reaped the process."""
    app = adsum.web.app(registry)
    events, departures = Screen(app, "events?"), Screen(app, "departures?")
    try:
        with sleeping() as child:
            # By its pid alone: a registered `Popen` would have its exit reported before it is reaped.
            registry.register("worker", child.pid)
            child.kill()
            for screen in (events, departures):
                async with asyncio.timeout(WITHIN):
                    while not any("died" in text for text in screen.rows.values()):
                        await screen.take()
        # The registrar learns it a moment later, from the kernel.
        for screen in (events, departures):
            async with asyncio.timeout(WITHIN):
                while not any("SIGKILL" in text for text in screen.rows.values()):
                    await screen.take()
    finally:
        events.close()
        departures.close()


async def test_a_hundred_pages_share_what_is_rendered(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages with the same address are open, a change is read and rendered once; when the last one has
    gone, nothing is read any more."""
    registry.register("a")
    app = adsum.web.app(registry)
    site: WebSite = app.state.site
    rendered: list[Entry] = []
    original = adsum.web.html.RenderedRows.row

    def count(self: adsum.web.html.RenderedRows, entry: Entry) -> str:
        rendered.append(entry)
        return original(self, entry)

    monkeypatch.setattr(adsum.web.html.RenderedRows, "row", count)
    topics = [TOPICS["members"](site, "", QueryParams("")) for _ in range(1)]
    subscriptions = [site.broadcaster.subscribe({"t0": topics[0]})]
    subscriptions += [
        site.broadcaster.subscribe({"t0": TOPICS["members"](site, "", QueryParams(""))}) for _ in range(99)
    ]
    try:
        registry.update("a", doing="one thing")
        for subscription in subscriptions:
            found: list[bytes] = []
            async with asyncio.timeout(WITHIN):
                while not any(b"one thing" in message for message in found):
                    found += await subscription.wait(1) or []
        assert len(rendered) == 1
    finally:
        for subscription in subscriptions:
            site.broadcaster.unsubscribe(subscription)
    task = site.broadcaster._task
    assert task is not None
    await eventually_awaited(task.done)


async def test_what_a_backlog_has_is_not_sent_again(registry: Registry) -> None:
    """A change that happens while a client's missed events are read is in these, and does not come a second time."""
    site: WebSite = adsum.web.app(registry).state.site
    topic = EventStreamTopic(site, parse_selection(QueryParams("")), site.broadcaster.catch_up())
    subscription = site.broadcaster.subscribe({"": (topic, topic)})
    try:
        registry.register("a")
        missed = b"".join(topic.backlog(adsum.Revision(0)))
        assert missed.count(b"event: registered") == 1
        site.broadcaster.catch_up()
        assert topic.take(0) is None
        registry.register("b")
        site.broadcaster.catch_up()
        assert (topic.take(0) or b"").count(b"event: registered") == 1
    finally:
        site.broadcaster.unsubscribe(subscription)


async def test_a_browser_that_takes_nothing_costs_a_bounded_memory(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages for a browser that takes none are given up beyond a bound, and it has to begin anew."""
    monkeypatch.setattr(broadcast, "MAX_WAITING", 3)
    monkeypatch.setattr("adsum.web.member_list.BATCH_SECONDS", 0.0)
    registry.register("a")
    screen = Screen(adsum.web.app(registry), "members?")
    try:
        for n in range(5):
            registry.update("a", custom={"n": n})
            await asyncio.sleep(0.03)
        await eventually_awaited(lambda: screen.subscription.is_lagging)
        assert await screen.subscription.wait(1) == []
    finally:
        screen.close()
