"""`adsum web` as a process: addresses, signals, streams that resume, and what happens to the registry meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry
from adsum.cli.options import UsageError
from adsum.cli.web.listening import parse_address
from tests.support import Agent, ChildFailed, end_registrar, eventually, kill_registrar, registrar_pid, remove_folder

from .document import listed, read
from .server import Server, Stream, get_over_unix

TOKEN = "a secret of more than sixteen characters"


def test_it_serves_what_it_says(server: Server, registry: Registry, registry_folder: Path) -> None:
    """It prints its address and the folder, serves pages there, and says no more."""
    assert server.folder == registry_folder
    registry.register("worker")
    assert listed(read(server.get("/").text)) == ["worker"]
    assert server.get("/api/members").document["total"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order(registry: Registry, server: Server, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end it with 0 and without a traceback, though streams are open; these end, and the
    port is free. Before it served, it said that there was no registry."""
    registry.register("worker")
    with server.stream("/api/events") as events, server.stream("/live?topic=members") as live:
        server.child.signal(number)
        assert events.ends()
        assert live.ends()
    out, err = server.child.process.communicate(timeout=20)
    said = f"adsum: there is no registry in {server.folder}\n"
    assert (server.child.process.returncode, out, err.decode()) == (0, b"", said)
    with socket.create_server(("127.0.0.1", server.port)):
        pass


def test_a_port_in_use(registry_folder: Path) -> None:
    """Where the port is in use it ends with 3, and a message with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ChildFailed, match=f"cannot listen on {listen}: Address already in use; choose another"):
            Server(registry_folder, listen=listen)


@pytest.mark.parametrize("listen", ["8470", ":8470", "127.0.0.1:99999", "::1:8470", "unix:", "127.0.0.1:http"])
def test_an_impossible_address(listen: str) -> None:
    """An address that is none has a message with an example."""
    with pytest.raises(UsageError, match="such as"):
        parse_address(listen)


@pytest.mark.parametrize(
    ("listen", "is_local"),
    [
        *(("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("127.9.9.9:1", True), ("unix:x", True)),
        *(("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("build-7:1", False)),
    ],
)
def test_which_addresses_need_no_token(listen: str, is_local: bool) -> None:
    """Only addresses that no other machine can reach need no token."""
    assert parse_address(listen).is_local == is_local


def test_ipv6(registry: Registry, registry_folder: Path) -> None:
    """The loopback address of IPv6 is served, by its name in brackets."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    registry.register("worker")
    with Server(registry_folder, listen="[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert listed(read(server.get("/").text)) == ["worker"]
        with server.stream("/api/events?since=0") as stream:
            assert stream.next().data["id"].endswith("/worker")


def test_a_unix_socket(registry: Registry, registry_folder: Path, tmp_path: Path) -> None:
    """A Unix socket is for this user alone, and goes with the server; one that a killed server left is taken over, one
    that is served is not."""
    registry.register("worker")
    path = tmp_path / "web.sock"
    with Server(registry_folder, listen=f"unix:{path}") as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert get_over_unix(path, "/api/members").document["total"] == 1
        with pytest.raises(ChildFailed, match="Address already in use"):
            Server(registry_folder, listen=f"unix:{path}")
        server.child.kill()
    assert path.exists()
    with Server(registry_folder, listen=f"unix:{path}") as server:
        assert get_over_unix(path, "/livez").status == 200
        server.child.signal(signal.SIGTERM)
        assert server.child.wait() == 0
    assert not path.exists()
    path.write_text("a file of somebody")
    with pytest.raises(ChildFailed, match="exists, and is no socket"):
        Server(registry_folder, listen=f"unix:{path}")
    assert path.read_text() == "a file of somebody"


def test_below_a_path(registry: Registry, registry_folder: Path) -> None:
    """Below a path all links, files and streams are there, whether a proxy passes the path on or takes it away."""
    registry.register("worker")
    with Server(registry_folder, "--prefix", "/tools/adsum/") as server:
        assert server.path == "/tools/adsum"
        page = read(server.get("/").text)
        links = {
            element.attributes[name] for element in page.all() for name in ("href", "src") if name in element.attributes
        }
        ours = {link for link in links if link.startswith("/")}
        assert ours
        assert all(link.startswith("/tools/adsum/") for link in ours)
        for link in ours:
            assert server.get(link.removeprefix("/tools/adsum")).status in (200, 501), link
        server.path = ""
        assert listed(read(server.get("/").text)) == ["worker"]
        with server.stream("/live?topic=members") as stream:
            registry.register("other")
            assert "other" in str(stream.until("rows").data)


def test_another_address_needs_a_token(registry: Registry, registry_folder: Path) -> None:
    """An address that other machines can reach is served only with a token, which the environment can give; then by
    the machine's addresses and its name, and by no foreign one."""
    registry.register("worker")
    with pytest.raises(ChildFailed, match="other machines can reach it"):
        Server(registry_folder, listen="0.0.0.0:0")
    with Server(registry_folder, listen="0.0.0.0:0", env={"ADSUM_WEB_TOKEN": TOKEN}) as server:
        server.host = "127.0.0.1"
        assert "clients give the token" in server.child.line()
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert server.get("/api/members").status == 401
        for host, status in ((socket.gethostname(), 200), ("10.9.8.7", 200), ("evil.example", 421)):
            assert server.get("/api/members", {**bearer, "Host": host}).status == status, host


def test_writes_need_a_token(registry: Registry, registry_folder: Path, tmp_path: Path) -> None:
    """Other users of the machine can reach a loopback port, so a server that changes the registry has a token there. A
    Unix socket is for this user alone, and needs none."""
    registry.register("worker")
    for listen in ("127.0.0.1:0", "[::1]:0", "localhost:0"):
        with pytest.raises(ChildFailed, match=r"every user of this machine can reach.*ADSUM_WEB_TOKEN=.*unix:PATH"):
            Server(registry_folder, "--allow-writes", listen=listen)
    path = f"/members/default/{registry.node}/worker/health"
    body = f"status=degraded&incarnation={registry['worker'].incarnation}"
    with Server(registry_folder, "--allow-writes", env={"ADSUM_WEB_TOKEN": TOKEN}) as server:
        assert server.get(path, method="POST", body=body).status == 401
        assert registry["worker"].metadata.health_status == "healthy"
        assert server.get(path, {"Authorization": f"Bearer {TOKEN}"}, "POST", body).status == 303
        assert registry["worker"].metadata.health_status == "degraded"
    with Server(registry_folder, "--allow-writes", listen=f"unix:{tmp_path / 'web.sock'}"):
        answer = get_over_unix(tmp_path / "web.sock", f"/members/default/{registry.node}/worker")
        assert (answer.status, "unregister" in answer.text) == (200, True)


def test_a_stream_has_every_change(registry: Registry, server: Server) -> None:
    """The stream of the API has each change as a document, with its epoch and revision as id and its kind as name."""
    with server.stream("/api/events") as stream:
        registration = registry.register("worker", capabilities={"x"})
        registration.update(doing="a thing")
        registration.unregister()
        found = [stream.next() for _ in range(3)]
    epoch = server.get("/api/members").document["epoch"]
    ids = [f"{epoch}.{revision}" for revision in (1, 2, 3)]
    assert [one.id for one in found] == ids
    assert [one.name for one in found] == ["registered", "updated", "unregistered"]
    assert [one.data["kind"] for one in found] == [one.name for one in found]
    assert found[1].data["previous"]["metadata"]["doing"] == ""
    assert found[1].data["entry"]["metadata"]["doing"] == "a thing"


def test_a_stream_resumes(registry: Registry, server: Server) -> None:
    """A client that connects again with the id of its last event gets every later one, none twice, also those of the
    time in between; the same with that id in the address, and with a revision alone."""
    with server.stream("/api/events") as stream:
        registry.register("a")
        last = stream.next().id
    for n in range(250):
        registry.register(f"b-{n}")
    epoch = last.partition(".")[0]
    with (
        server.stream("/api/events", {"Last-Event-ID": last}) as stream,
        server.stream(f"/api/events?since={last}") as second,
        server.stream("/api/events?since=1") as third,
        server.stream(f"/api/events?since=0&epoch={epoch}", {"Last-Event-ID": "1"}) as fourth,
    ):
        registry.register("c")
        for one in (stream, second, third, fourth):
            assert [one.next().id for _ in range(251)] == [f"{epoch}.{n}" for n in range(2, 253)]


def test_a_stream_of_some_members(registry: Registry, server: Server) -> None:
    """A stream with a filter has the changes of members that match: one that starts to match is registered, one that
    stops to match is unregistered."""
    with server.stream("/api/events?capability=x&q=w") as stream:
        registry.register("other", capabilities={"x"})
        registration = registry.register("w")
        registration.update(capabilities={"x"})
        registration.update(doing="a")
        registration.update(capabilities={"y"})
        registration.update(doing="b")
        assert [stream.next().name for _ in range(3)] == ["registered", "updated", "unregistered"]
        registry.register("w-2", capabilities={"x"})
        assert stream.next().data["id"].endswith("/w-2")


def test_a_stream_that_missed_changes_says_so(registry: Registry, server: Server) -> None:
    """Where the history does not reach back, or the registry is another one, the first event says `lagged`, and events
    go on from the present."""
    registry.register("a")
    epoch = server.get("/api/members").document["epoch"]
    other = int(epoch) - 1
    for query in ("since=999", f"since=0&epoch={other}", f"since={other}.0", f"since={other}.0&epoch={epoch}"):
        with server.stream(f"/api/events?{query}") as stream:
            first = stream.next()
            present = f"{epoch}.{registry.stats().revision}"
            assert (first.name, first.id, first.data["entry"]) == ("lagged", present, None), query
    for query in (f"since=0&epoch={epoch}", f"since={epoch}.0", "since=0"):
        with server.stream(f"/api/events?{query}") as stream:
            assert stream.next().name == "registered", query
    for query in (
        "since=x",
        "since=1.2.3",
        "since=1.",
        "since=9" + "9" * 20,
        "since=" + "9" * 20 + ".1",
        "epoch=-1",
        "health=fine",
    ):
        assert server.get(f"/api/events?{query}").status == 400


def test_streams_go_on_across_a_killed_registrar(registry: Registry, server: Server) -> None:
    """When the registrar is killed, an open stream goes on with the changes of the next one."""
    registry.register("a")
    with server.stream("/api/events") as stream, server.stream("/live?topic=members") as live:
        kill_registrar(registry.folder)
        registry.register("b")
        assert stream.next().data["id"].endswith("/b")
        assert "b" in str(live.until("rows").data["rows"])


def test_a_registry_that_is_made_anew(registry: Registry, server: Server) -> None:
    """When the folder is removed and the registry made anew, as after a reboot, the stream of a page says that the page
    has to be loaded again, that of the API says `lagged`, and the new page has the new members."""
    registry.register("old")
    registry.unregister("old")
    registry.register("old")
    position = read(server.get("/").text).find(id="live")[0].attributes["data-since"]
    with server.stream("/api/events") as stream, server.stream(f"/live?topic=members&since={position}") as live:
        end_registrar(registry.folder)
        registry.close()
        remove_folder(registry.folder)
        with Agent(registry.folder) as agent:
            agent.do("registry.register('new')")
            names = []
            while "reload" not in names:
                names.append(live.next().name)
            kinds = [stream.next()]
            assert kinds[0].name == "lagged"
            assert listed(read(server.get("/").text)) == ["new"]
            # A browser that slept meanwhile comes back with the old position.
            with server.stream("/live?topic=members", {"Last-Event-ID": position}) as later:
                assert later.next().name == "reload"
            agent.do("registry.unregister('new')")


@pytest.mark.parametrize("fixed", [True, False], ids=["a position in the address", "no position in the address"])
def test_a_client_comes_back_to_a_registry_that_is_made_anew(registry: Registry, server: Server, fixed: bool) -> None:
    """A client that connects again, with the last id alone as `EventSource` does, is told that the registry was made
    anew meanwhile, and misses no event. With an id of the new one it goes on, whatever its address says of the old."""
    for name in ("a", "b"):
        registry.register(name)
    epoch = server.get("/api/members").document["epoch"]
    path = f"/api/events?since=0&epoch={epoch}" if fixed else "/api/events?since=0"
    with server.stream(path) as stream:
        last = [stream.next().id for _ in range(2)][-1]
    end_registrar(registry.folder)
    registry.close()
    remove_folder(registry.folder)
    with Agent(registry.folder) as agent:
        for name in ("c", "d", "e"):
            agent.do(f"registry.register({name!r})")
        # The server knows the new registry before the client comes back.
        eventually(lambda: server.get("/api/members").document["total"] == 3)
        with server.stream(path, {"Last-Event-ID": last}) as stream:
            first = stream.next()
            assert (first.name, first.data["revision"]) == ("lagged", 3)
        agent.do("registry.update('c', doing='x')")
        with server.stream(path, {"Last-Event-ID": first.id}) as stream:
            later = stream.next()
            assert (later.name, later.data["revision"]) == ("updated", 4)
        for name in ("c", "d", "e"):
            agent.do(f"registry.unregister({name!r})")


def test_javascript_keeps_the_epoch(registry: Registry, server: Server) -> None:
    """An epoch has more bits than a number of JavaScript; what a program in it reads of the list leads to the events
    after the list."""
    registry.register("a")
    document = server.get("/api/members").document
    # As JSON.parse reads numbers.
    read = json.loads(json.dumps(document), parse_int=float)
    query = f"since={read['revision']:.0f}&epoch={read['epoch']}"
    registry.register("b")
    with server.stream(f"/api/events?{query}") as stream:
        assert stream.next().data["id"].endswith("/b")


def test_it_starts_no_registrar(registry_folder: Path, server: Server) -> None:
    """Open pages make no registry and start no registrar; a registry that is made later appears."""
    with server.stream("/live?topic=members&topic=registry") as live:
        assert live.next().name in ("t0", "t1")
        assert not registry_folder.exists()
        with Agent(registry_folder) as agent:
            agent.do("registry.register('first')")
            while "first" not in str(live.next().data):
                pass
            assert registrar_pid(registry_folder) is not None
            agent.do("registry.unregister('first')")


def test_streams_of_several_topics(registry: Registry, server: Server) -> None:
    """One stream has the messages of several pages, and resumes all of them from one position."""
    query = "topic=members&topic=events&topic=departures"
    with server.stream(f"/live?{query}") as stream:
        registry.register("a")
        names: set[str] = set()
        position = ""
        while not {"t0", "t1"} <= names:
            message = stream.next()
            if set(message.data) != {"parts"}:
                names.add(message.name)
            position = message.id
    registry.unregister("a")
    with server.stream(f"/live?{query}", {"Last-Event-ID": position}) as stream:
        seen: dict[str, object] = {}
        while not {"t0", "t1", "t2"} <= set(seen):
            message = stream.next()
            if set(message.data) != {"parts"}:
                seen[message.name] = message.data
        assert "gone" in str(seen["t0"])
        assert "unregistered" in str(seen["t1"])
        assert "unregistered" in str(seen["t2"])


def test_an_impossible_topic(server: Server) -> None:
    """A stream of topics that there are not is refused."""
    for query in ("", "topic=nothing", "topic=members?health=fine", "&".join(["topic=team"] * 65)):
        assert server.get(f"/live?{query}").status == 400, query


def test_clients_that_go_are_forgotten(registry: Registry, server: Server) -> None:
    """A client that closes its stream, and one that takes nothing, leave no descriptor behind, and do not keep others
    from being served."""
    registry.register("a")
    with server.stream("/live?topic=members") as first:
        assert first.next().data
    before = len(os.listdir(f"/proc/{server.child.pid}/fd"))
    streams = [Stream(server.host, server.port, "/live?topic=members", {}) for _ in range(40)]
    registry.update("a", doing="x")
    for stream in streams:
        assert stream.next().data
        stream.close()
    registry.update("a", doing="y")
    eventually(lambda: len(os.listdir(f"/proc/{server.child.pid}/fd")) <= before + 1)
    with socket.create_connection((server.host, server.port)) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert server.get("/livez").status == 200


def followed(server: Server, path: str, count: int) -> list[dict[str, Any]]:
    """The data of so many messages. Where changes come faster than the server can follow, it asks its browsers to load
    their pages again, and they open the stream anew."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        with server.stream(path) as stream:
            while len(found) < count and (message := stream.next()).name != "reload":
                found.append(message.data)
    return found


def test_a_thousand_members_at_work(registry: Registry, server: Server) -> None:
    """With a thousand members and changes without a pause, pages and streams are served, with many changes in each
    message."""
    registry.register_many([(f"w-{n}", {"capabilities": {"x"}}) for n in range(1000)])
    ends = threading.Event()

    def work() -> None:
        with adsum.open(path=registry.folder, timeout=20) as own:
            while not ends.is_set():
                own.update_many([(f"w-{n}", {"custom": {"at": time.monotonic()}}) for n in range(20)])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        found = followed(server, "/live?topic=members", 5)
        assert len(listed(read(server.get("/").text))) == 1000
    finally:
        ends.set()
        worker.join()
    assert max(len(data.get("rows", ())) for data in found) >= 20


def test_without_the_extra(registry_folder: Path, tmp_path: Path) -> None:
    """Where starlette is missing, it names the package to install and ends with 3."""
    (tmp_path / "starlette").mkdir()
    (tmp_path / "starlette" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named starlette', name='starlette')\n"
    )
    with pytest.raises(ChildFailed, match=r"ended with 3(.|\n)*pip install 'adsum\[web\]'"):
        Server(registry_folder, env={"PYTHONPATH": str(tmp_path)})


def test_dead_members_are_in_no_stream(registry: Registry, server: Server) -> None:
    """The death of a process reaches streams with its exit once that is known, and its row is gone."""
    with subprocess.Popen(["sleep", "60"]) as child:
        registry.register("worker", child)
        with server.stream("/api/events") as events, server.stream("/live?topic=members") as live:
            child.kill()
            child.wait()
            event = events.next()
            assert (event.name, event.data["entry"]["pid"]) == ("died", child.pid)
            assert len(live.until("gone").data["gone"]) == 1
