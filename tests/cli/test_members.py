"""`adsum register`, `adsum departures`, `adsum namespaces`, and the metadata of `adsum run`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from adsum import Registry
from tests.support import eventually, kill_registrar

from .command import ADSUM, Command
from .terminal import Terminal


def test_register_is_for_a_process_that_runs(command: Command, members: Registry) -> None:
    """`register` gives a running process an entry with the metadata of the options, which ends with the process."""
    options = ["-c", "planning", "--type", "service", "--endpoint", "tcp://x:1", "--resource", "gpu=2"]
    options += ["--heartbeat", "60", "--custom", '{"model": {"size": [1, null]}}', "--health", "degraded"]
    with subprocess.Popen(["sleep", "60"]) as process:
        answer = command("register", "me", str(process.pid), *options)
        assert answer == (0, f"default/here/me is process {process.pid}\n", "")
        entry = members["me"]
        metadata = entry.metadata
        assert (entry.pid, sorted(metadata.capabilities), metadata.type) == (process.pid, ["planning"], "service")
        assert (metadata.endpoint, metadata.resources, metadata.heartbeat) == ("tcp://x:1", {"gpu": 2}, 60.0)
        assert (metadata.custom, metadata.health_status) == ({"model": {"size": [1, None]}}, "degraded")
        process.kill()
    eventually(lambda: members.departures(1))
    assert "me" not in members


def test_register_as_json_is_the_new_entry(command: Command, members: Registry) -> None:
    """`register --json` prints the new entry."""
    document = command.document("register", "there/is/me", str(os.getpid()))
    assert (document["id"], document["pid"]) == ("there/is/me", os.getpid())


def test_register_of_no_process_is_not_found(command: Command, members: Registry) -> None:
    """A process that does not exist is exit code 1, and nothing is registered."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    code, out, err = command("register", "me", str(process.pid))
    assert (code, out) == (1, "")
    assert f"process {process.pid}" in err or str(process.pid) in err
    assert "me" not in members


def test_register_of_a_held_id_is_refused(command: Command, members: Registry) -> None:
    """An id that is held is exit code 3, with shell commands as advice."""
    members.register("me")
    code, out, err = command("register", "me", str(os.getppid()))
    assert (code, out) == (3, "")
    assert f"default/here/me is held by process {os.getpid()}" in err
    assert "adsum show me" in err


@pytest.mark.parametrize("option", ["--custom", "--heartbeat"])
def test_run_takes_custom_data_and_a_heartbeat(command: Command, option: str) -> None:
    """`run --custom` stores a JSON object, `run --heartbeat` the promise of heartbeats."""
    value = {"--custom": '{"model": "small"}', "--heartbeat": "60"}[option]
    answer = command("run", "me", option, value, "--", *ADSUM, "show", "me", "--json")
    metadata = json.loads(answer.out)["metadata"]
    assert metadata[option.removeprefix("--")] == json.loads(value)


@pytest.mark.parametrize("columns", [60, 70, 80, 100])
def test_an_id_is_whole_in_departures(command: Command, members: Registry, columns: int) -> None:
    """On a terminal no id is broken in two, and no time of day, while it has room for them."""
    name = "retrieval-agent-for-the-archive-of-the-year-2026-shard-7"
    members.register(name).unregister()
    environment = {**command.environment, "TERM": "xterm", "TZ": "XYZ-05:30"}
    with Terminal([*ADSUM, "departures"], environment, columns=columns) as terminal:
        shown = re.sub(r"\x1b\[\d+m", "", terminal.read())
    assert all(len(line.rstrip()) <= columns for line in shown.splitlines())
    words = shown.split()
    assert name in words
    assert "unregistered" in words
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d\+05:30", word) for word in words)


def test_departures_in_a_pipe_have_local_times(command: Command, members: Registry) -> None:
    """In a pipe the time is one word, in the zone of the user, as `show` and `watch` print it; in JSON it is in UTC."""
    command.environment["TZ"] = "XYZ-05:30"
    members.register("a").unregister()
    at = command("departures").out.splitlines()[1].split()[2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:30", at)
    (document,) = command.document("departures")
    assert document["at"].endswith("Z")
    moment = datetime.fromisoformat(document["at"])
    assert moment - timedelta(milliseconds=1) < datetime.fromisoformat(at) <= moment


def test_departures_are_listed_newest_first(command: Command, members: Registry) -> None:
    """`departures` lists how entries ended, of all namespaces or of one, one line of words for each."""
    members.register("a").unregister()
    members.register(("other", "there", "b")).unregister()
    with subprocess.Popen(["sleep", "60"]) as process:
        members.register("c", process)
        process.kill()
    eventually(lambda: len(members.departures()) == 3)
    heading, *rows = command("departures").out.splitlines()
    assert heading.split() == ["ID", "HOW", "AT", "PID", "LIVED", "DETECTION", "EXIT"]
    assert [row.split()[:2] for row in rows] == [
        ["c", "died"],
        ["other/there/b", "unregistered"],
        ["a", "unregistered"],
    ]
    assert {len(row.split()) for row in rows} == {7}
    assert [row.split()[0] for row in command("departures", "--limit", "1").out.splitlines()[1:]] == ["c"]
    (only,) = command.document("departures", "--namespace", "other")
    assert (only["id"], only["how"]) == ("other/there/b", "unregistered")
    assert command.document("departures", "--node", "here", "--limit", "5")[1]["id"] == "default/here/a"


def test_namespaces_are_counted(command: Command, members: Registry) -> None:
    """`namespaces` counts the living members of each namespace by health, and no dead one."""
    members.register_many([("a", {}), ("b", {"health_status": "degraded"}), (("other", "there", "a"), {})])
    with subprocess.Popen(["sleep", "60"]) as process:
        members.register(("third", "there", "x"), process)
        kill_registrar(command.folder)
        process.kill()
    answer = command("namespaces")
    assert [line.split() for line in answer.out.splitlines()] == [
        ["NAMESPACE", "MEMBERS", "HEALTHY", "DEGRADED", "UNHEALTHY"],
        ["default", "2", "1", "1", "0"],
        ["other", "1", "1", "0", "0"],
    ]
    assert answer.code == 0
    assert command.document("namespaces", "--node", "there") == [
        {"namespace": "other", "members": 1, "healthy": 1, "degraded": 0, "unhealthy": 0}
    ]


@pytest.mark.parametrize("name", ["departures", "namespaces"])
def test_without_a_registry_nothing_is_listed(command: Command, name: str) -> None:
    """Where there is no registry, the exit code is 1, a message says so, and --json is an empty list."""
    code, out, err = command(name)
    assert (code, out) == (1, "")
    assert "there is no registry" in err
    assert command.document(name) == []
    assert not command.folder.exists()


def test_the_program_can_send_the_heartbeats(command: Command) -> None:
    """A program under `run --heartbeat` sends its heartbeats itself, because it owns the entry."""
    code = "import adsum; print(adsum.open().heartbeat('me').metadata.heartbeat)"
    assert command("run", "me", "--heartbeat", "5", "--", sys.executable, "-c", code).out == "5.0\n"
