"""`adsum registrar`: a registrar started by hand or by a service manager."""

from __future__ import annotations

import json
import signal

import pytest

from adsum import Registry
from tests.support import Child, eventually, registrar_pid, stopped

from .command import Command


def _serving(command: Command, *options: str) -> Child:
    """A registrar in the foreground, once it serves."""
    run = command.start("registrar", "--foreground", *options)
    eventually(lambda: registrar_pid(command.folder) == run.pid and (command.folder / "socket").exists())
    return run


def test_in_the_background(command: Command) -> None:
    """`registrar` starts one and prints its pid; if one runs already, it prints that pid."""
    first = command.document("registrar")
    assert first == {"folder": str(command.folder), "pid": registrar_pid(command.folder), "started": True}
    assert command.document("registrar") == {**first, "started": False}
    assert command("registrar").out == f"registrar already running: pid {first['pid']}, {command.folder}\n"


def test_a_stopped_registrar_is_reported(command: Command, members: Registry) -> None:
    """Where the registrar is stopped by a signal, `registrar` has exit code 1 and advises how to continue it."""
    members.register("planner")
    with stopped(command.folder) as pid:
        code, out, err = command("registrar")
    assert (code, out) == (1, "")
    assert (
        err
        == f"adsum: the registrar of {command.folder}, pid {pid} is stopped and serves no client; kill -CONT {pid}\n"
    )
    assert command("registrar").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground(command: Command, members: Registry, number: signal.Signals) -> None:
    """With --foreground the command serves, logs to standard error, and exits with 0 at SIGTERM and SIGINT."""
    with _serving(command) as serving:
        members.register("planner")
        assert members.stats().registrar_pid == serving.pid
        serving.signal(number)
        out, err = serving.process.communicate(timeout=10)
    assert serving.process.returncode == 0
    assert out == b""
    assert b"INFO serving" in err
    assert b"INFO left: stopped" in err


def test_a_second_one_in_the_foreground_is_refused(command: Command) -> None:
    """Where another registrar serves, --foreground has exit code 1 and names it; the other goes on serving."""
    with _serving(command) as serving:
        code, _, err = command("registrar", "--foreground")
        assert code == 1
        assert f"another registrar (pid {serving.pid}) serves {command.folder}" in err
        assert registrar_pid(command.folder) == serving.pid


def test_replace_stops_the_other_registrar(command: Command, members: Registry) -> None:
    """With --replace the registrar that serves exits in order, and the new one has every entry."""
    with _serving(command) as first:
        members.register("planner")
        with _serving(command, "--replace") as second:
            assert first.wait() == 0
            assert members["planner"].process_id.local_id == "planner"
            members.update_health("planner", "degraded")
            assert members.stats().registrar_pid == second.pid


def test_stop_ends_it_and_keeps_every_entry(command: Command, members: Registry) -> None:
    """With --stop the command returns when the registrar has ended; where none runs, the exit code is 1."""
    members.register("planner")
    answer = command("registrar", "--stop")
    assert (answer.code, answer.out) == (0, f"registrar stopped: {command.folder}\n")
    assert registrar_pid(command.folder) is None
    assert "planner" in members
    again = command("registrar", "--stop", "--json")
    assert again.code == 1
    assert json.loads(again.out) == {"folder": str(command.folder), "pid": None, "started": False}
    assert registrar_pid(command.folder) is None


@pytest.mark.parametrize("option", [("--foreground",), ("--replace",), ("--linger", "3")])
def test_stop_goes_with_no_other_option(command: Command, members: Registry, option: tuple[str, ...]) -> None:
    """--stop together with an option that starts a registrar is a usage error, and stops nothing."""
    members.register("planner")
    assert command("registrar", "--stop", *option).code == 2
    assert registrar_pid(command.folder) is not None


def test_limits_count_when_the_registry_is_created(command: Command) -> None:
    """The options are the limits of a new registry; for an existing one the command notes that they have no effect."""
    command("registrar", "--max-entries", "1", "--max-memory-mib", "8")
    assert command.document("stats")["bytes_limit"] == 8 * 1024**2
    with command.start_listener("first") as run:
        run.line()
        code, _, err = command("run", "second", "--", "true")
        assert code == 3
        assert "max_entries is 1" in err
    assert "keeps the limits that it was created with" in command("registrar", "--max-entries", "2").err


def test_linger_is_how_long_it_stays_idle(command: Command) -> None:
    """A registrar without clients and entries exits after --linger, with exit code 0."""
    with _serving(command, "--linger", "0.2") as serving:
        assert serving.wait() == 0


@pytest.mark.parametrize("options", [("--max-entries", "0"), ("--linger", "nan"), ("--max-memory-mib", "0")])
def test_impossible_limits_are_a_usage_error(command: Command, options: tuple[str, ...]) -> None:
    """An impossible limit has exit code 2, and no registry is created."""
    assert command("registrar", *options).code == 2
    assert not command.folder.exists()
