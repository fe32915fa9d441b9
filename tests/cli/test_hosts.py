"""What the commands show of other hosts of a cluster. The bridge is the test's own; `tests/cluster` has real ones."""

from __future__ import annotations

import json
import os

import pytest

from adsum import Registry
from adsum.views.documents import EventDocument
from tests.cluster.bridging import HOST, Bridge, remote

from .command import Command

ID = f"default/{HOST}/worker"


@pytest.fixture
def bridge(members: Registry) -> Bridge:
    """Two hosts: this one with the member `local`, and host-b, which is here, with `worker`."""
    members.register("local")
    bridge = Bridge(members)
    bridge.host("here")
    bridge.put(remote("worker", description="far away"))
    return bridge


def table(text: str) -> list[dict[str, str]]:
    """The rows of a table in a pipe, by column."""
    heading, *rows = [line.split() for line in text.splitlines()]
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_no_column_is_about_hosts_where_there_is_one(members: Registry, command: Command) -> None:
    """Without another host, ls and departures are as they always were."""
    members.register("local")
    members.register("other").unregister()
    assert "HOST" not in command("ls").out + command("departures").out + command("top").out
    assert "hosts" not in command("top").out


def test_ls_has_host_and_reach(bridge: Bridge, command: Command) -> None:
    """A member of another host has its host and how far away it is; --hosts here leaves it out."""
    rows = {row["ID"]: (row["HOST"], row["REACH"]) for row in table(command("ls").out)}
    assert rows == {"local": ("-", "here"), ID: (HOST, "remote")}
    assert [row["ID"] for row in table(command("ls", "--hosts", "here").out)] == ["local"]
    documents = {entry["id"]: entry for entry in command.document("ls")}
    assert (documents[ID]["host"], documents[ID]["reach"]) == (HOST, "remote")
    assert documents[ID]["origin"]["host"] == HOST
    assert documents["default/here/local"]["origin"] is None


def test_ls_and_show_have_the_unreachable_where_asked_for(bridge: Bridge, command: Command) -> None:
    """They are left out, as in every answer, unless --unreachable is given."""
    bridge.host("unreachable")
    assert [row["ID"] for row in table(command("ls").out)] == ["local"]
    rows = {row["ID"]: row["REACH"] for row in table(command("ls", "--unreachable").out)}
    assert rows == {"local": "here", ID: "unreachable"}
    assert command("show", ID).code == 1
    answer = command("show", ID, "--unreachable")
    assert answer.code == 0
    assert f"{HOST}, unreachable" in answer.out


def test_show_has_the_host(bridge: Bridge, command: Command) -> None:
    """So has the page of a member; what its process uses is known on its own host alone."""
    answer = command("show", ID)
    assert answer.code == 0
    assert f"{HOST}, remote" in answer.out
    assert "CPU" not in answer.out
    assert "CPU" in command("show", "local").out


def test_departures_say_why_members_of_other_hosts_ended(bridge: Bridge, command: Command) -> None:
    """`left`, `unreachable_forgotten` and `died` are never confused, and each has its host."""
    bridge.put(remote("second"))
    bridge.end(remote("second"), how="died", exit=-9)
    bridge.host("gone", how="unreachable_forgotten")
    bridge.fence += 1
    bridge.host("here")
    bridge.put(remote("third", 9))
    bridge.host("gone", how="left")
    rows = table(command("departures").out)
    assert [(row["HOW"], row["HOST"]) for row in rows] == [
        ("left", HOST),
        ("unreachable_forgotten", HOST),
        ("died", HOST),
    ]
    assert rows[2]["EXIT"] == "-9"


def test_watch_has_one_line_for_a_host(bridge: Bridge, members: Registry, command: Command) -> None:
    """Unreachable, returned and whole are lines of their own, with the host in place of an id; a member that ends says
    why."""
    since = str(int(members.watch().revision))
    with command.start("watch", "--since", since) as text, command.start("watch", "--since", since, "--json") as lines:
        bridge.host("unreachable")
        bridge.fence += 1
        bridge.host("returning")
        bridge.host("here")
        bridge.host("gone", how="left")
        shown = [text.line() for _ in range(4)]
        documents = [json.loads(lines.line()) for _ in range(4)]
    kinds = ["unreachable", "returned", "whole", "unregistered"]
    assert [line.split()[1] for line in shown] == kinds
    assert all(line.split()[2] == HOST for line in shown[:3])
    assert "nothing says that they have died" in shown[0]
    assert "its host left the cluster" in shown[3]
    assert [(one["kind"], one["host"]) for one in documents[:3]] == [(kind, HOST) for kind in kinds[:3]]
    assert documents[0]["entry"] is None
    assert documents[3]["entry"]["host"] == HOST
    assert list(documents[0]) == list(EventDocument.__struct_fields__)


def test_top_has_the_hosts(bridge: Bridge, command: Command) -> None:
    """Its figures have the other hosts, the lag, and the names of those that are lost."""
    shown = command("top").out
    assert "others 1  entries 1  lag" in shown
    assert HOST in shown
    assert "unreachable" not in shown
    bridge.host("unreachable")
    assert f"unreachable {HOST}" in command("top").out
    assert command.document("top")["stats"]["cluster"]["unreachable"] == 1


def test_a_silent_cluster_is_said_where_members_are_listed(bridge: Bridge, command: Command) -> None:
    """Where the bridge hears nothing, `ls` says on standard error why members of other hosts are left out."""
    assert command("ls").err == ""
    bridge.hear(ago=100.0)
    answer = command("ls")
    assert [row["ID"] for row in table(answer.out)] == ["local"]
    assert "members of other hosts are left out" in answer.err


def test_a_name_of_the_whole_cluster_needs_one(members: Registry, command: Command) -> None:
    """Without a cluster, --everywhere is refused, and the program never runs."""
    answer = command("run", "leader", "--everywhere", "--", "echo", "started")
    assert (answer.code, answer.out) == (3, "")
    assert "cluster" in answer.err
    assert command("register", "leader", str(os.getpid()), "--everywhere").code == 3
