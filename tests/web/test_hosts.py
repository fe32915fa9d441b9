"""The pages of a registry that is part of a cluster: two hosts over a real etcd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

import adsum.web
from adsum.web.selection import parse_selection
from adsum.web.streams import EventStreamTopic
from tests.cluster.host_processes import SOON, Hosts
from tests.support.etcd import EtcdCluster

from .document import listed, read, rows
from .test_following import Screen


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One etcd server."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def hosts(etcd: EtcdCluster, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """Hosts of a cluster of this test's own."""
    with Hosts(etcd.address(request.node.name.replace("_", "-")[-40:].strip("-"))) as opened:
        yield opened


def test_members_of_other_hosts_are_listed(hosts: Hosts) -> None:
    """The list has the members of other hosts, with the host; their pages say nothing of processes here that have the
    same pid, and offer no change; the hosts have a page of their own."""
    here, there = hosts.add("here"), hosts.add("there")
    there.registry.register("planner", capabilities={"planning"})
    here.sees(there, "planner")
    with TestClient(adsum.web.app(here.registry, allow_writes=True), follow_redirects=False) as client:
        page = read(client.get("/").text)
        assert listed(page) == ["planner"]
        assert "on there" in page.find(id="rows")[0].text
        assert "Hosts" in page.find("nav")[0].text
        member = read(client.get("/members/default/there/planner").text)
        assert "on there" in member.text
        assert not member.find("ol", cls="tree")
        assert not member.find("form")
        form = {"incarnation": str(here.registry[there.id("planner")].incarnation)}
        assert client.post("/members/default/there/planner/unregister", data=form).status_code == 409
        rows = read(client.get("/hosts").text).find("tr")[1:]
        assert [row.text.split()[:2] for row in rows] == [["this", "host"], ["there", "remote"]]
    assert there.registry.lookup("planner") is not None


def test_without_a_cluster_there_are_no_hosts(registry: adsum.Registry, client: TestClient) -> None:
    """A registry of one machine has no page of hosts among its pages."""
    registry.register("a")
    page = read(client.get("/").text)
    assert "Hosts" not in page.find("nav")[0].text
    assert "no other host" in read(client.get("/hosts").text).text


async def test_rows_go_and_come_back_with_their_host(hosts: Hosts) -> None:
    """The rows of a host that cannot be reached go, and come back with it, though no member has changed."""
    here, there = hosts.add("here"), hosts.add("there")
    here.registry.register("own")
    there.registry.register("planner")
    here.sees(there, "planner")
    screen = Screen(adsum.web.app(here.registry), "members?")
    try:
        assert len(screen.rows) == 2
        there.bridge.stop()
        async with asyncio.timeout(2 * SOON):
            while len(screen.rows) != 1:
                await screen.take()
        there.bridge.resume()
        async with asyncio.timeout(2 * SOON):
            while len(screen.rows) != 2:
                await screen.take()
        assert screen.rows == screen.fresh()
    finally:
        screen.close()


async def test_events_of_hosts_are_in_the_list_and_in_the_stream(hosts: Hosts) -> None:
    """A host that is lost and returns is in the list of events under its name, also in a page that follows; the JSON
    API has the events as a watch gives them."""
    here, there = hosts.add("here"), hosts.add("there")
    there.registry.register("planner")
    here.sees(there, "planner")
    app = adsum.web.app(here.registry)
    screen, site = Screen(app, "events?q=there"), app.state.site
    stream = EventStreamTopic(site, parse_selection(QueryParams("capability=none")), site.broadcaster.catch_up())
    api = site.broadcaster.subscribe({"": (stream, stream)})
    try:
        before = len(screen.rows)
        there.bridge.stop()
        async with asyncio.timeout(2 * SOON):
            while len(screen.rows) != before + 1:
                await screen.take()
        there.bridge.resume()
        async with asyncio.timeout(2 * SOON):
            while len(screen.rows) != before + 3:
                await screen.take()
        assert screen.rows == screen.fresh()
        said = b"".join(await api.wait(SOON) or ())
        documents = [json.loads(line.removeprefix(b"data: ")) for line in said.splitlines() if line[:5] == b"data:"]
        assert [one["kind"] for one in documents] == ["unreachable", "returned", "whole"]
        assert {(one["host"], one["entry"]) for one in documents} == {("there", None)}
        found = rows(read(TestClient(app).get("/events?kind=whole&q=there").text))
        assert len(found) == 2, "when it was first there, and now"
    finally:
        site.broadcaster.unsubscribe(api)
        screen.close()
