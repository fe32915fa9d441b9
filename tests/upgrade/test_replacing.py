"""`adsum registrar --replace`: the registrar that serves exits, of whatever version, and one of this version serves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import Limits, Timeout, VersionMismatch, admin
from adsum._client.launch import Launch
from adsum._client.spawn import start_registrar
from adsum._store import page as pages
from adsum._store import page_layout
from adsum._store.layout import FORMAT
from tests.cli.command import Command
from tests.support import Agent, eventually, kill_registrar, registrar_pid, stopped

OldAgent = Callable[[], Agent]


def replace(folder: Path) -> None:
    admin.replace_registrar(folder, timeout=20)


def make_newer(folder: Path) -> None:
    """Give the page the format of a later version."""
    with open(folder / "page", "r+b") as file:
        file.seek(page_layout.WORD_BYTES * page_layout.FORMAT)
        file.write((FORMAT + 1).to_bytes(page_layout.WORD_BYTES, "little"))


def test_the_command_replaces_it(old_agent: OldAgent, registry_folder: Path) -> None:
    """`adsum registrar --replace` migrates the registry of a living member of the older version."""
    command = Command(registry_folder)
    old = old_agent()
    old.do("registry.register('a')")
    refused = command("ls", "--path", str(registry_folder))
    assert refused.code == 3
    assert f"adsum registrar --path {registry_folder} --replace" in refused.err
    answer = command("registrar", "--replace", "--path", str(registry_folder))
    assert answer.code == 0, answer.err
    assert command.document("ls", "--path", str(registry_folder))[0]["process_id"]["local_id"] == "a"


def test_the_command_replaces_it_in_the_foreground(old_agent: OldAgent, registry_folder: Path) -> None:
    """With --foreground the command itself becomes the registrar that migrates."""
    command = Command(registry_folder)
    old = old_agent()
    old.do("registry.register('a')")
    with command.start("registrar", "--foreground", "--replace", "--path", str(registry_folder)) as run:
        eventually(lambda: registrar_pid(registry_folder) == run.pid)
        eventually(lambda: format_of(registry_folder) == FORMAT)
        with adsum.open(path=registry_folder, timeout=10) as registry:
            assert registry["a"].pid == old.pid
        # It answers as soon as its signal handlers are in place.
        eventually(lambda: answers(registry_folder))
        run.signal(signal.SIGTERM)
        assert run.wait() == 0


def format_of(folder: Path) -> int:
    page = pages.peek(folder)
    assert page is not None
    return page.format


def answers(folder: Path) -> bool:
    try:
        return admin.ping(folder) >= 0
    except OSError:
        return False


def test_members_of_this_version_go_on(registry_folder: Path) -> None:
    """Replacing a registrar of this version: calls go on, standbys keep their positions, watches see every change."""
    with (
        Agent(registry_folder) as holder,
        Agent(registry_folder) as waiting,
        adsum.open(path=registry_folder, timeout=10) as registry,
    ):
        holder.do("registration = registry.register('a')")
        waiting.do("granted = registry.stand_by('a')")
        former = registrar_pid(registry_folder)
        with registry.watch() as watch:
            replace(registry_folder)
            assert registrar_pid(registry_folder) not in (None, former)
            holder.do("registration.update(endpoint='x')")
            assert watch.next(10).kind == "updated"
            os.kill(holder.pid, signal.SIGKILL)
            assert waiting.value("granted.result(10).entry.pid == os.getpid()")
            assert [watch.next(10).kind, watch.next(10).kind] == ["died", "registered"]


def test_a_stopped_registrar_is_reported(old_agent: OldAgent, registry_folder: Path) -> None:
    """A registrar that does not exit is never reported as replaced. Once it is resumed, the next try succeeds."""
    old = old_agent()
    old.do("registry.register('a')")
    with stopped(registry_folder) as pid, pytest.raises(Timeout, match=rf"pid {pid}\).*still runs"):
        admin.replace_registrar(registry_folder, timeout=0.5)
    replace(registry_folder)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert registry["a"].pid == old.pid


@pytest.mark.parametrize("size", [page_layout.SIZE, page_layout.SIZE // 2, 2 * page_layout.SIZE])
def test_a_registrar_of_a_newer_version_goes_on(size: int, registry: adsum.Registry, registry_folder: Path) -> None:
    """Tables of a newer format are refused, whatever size their page has, and their registrar is not stopped."""
    registry.register("a")
    registry.close()
    former = registrar_pid(registry_folder)
    command = Command(registry_folder)
    make_newer(registry_folder)
    with stopped(registry_folder):
        # Stopped, so that it does not touch the page while that is shorter.
        os.truncate(registry_folder / "page", size)
        with pytest.raises(VersionMismatch, match="of a newer adsum than this one"):
            replace(registry_folder)
        answer = command("registrar", "--foreground", "--replace", "--path", str(registry_folder))
        assert answer.code == 3
        assert "of a newer adsum than this one" in answer.err
        os.truncate(registry_folder / "page", page_layout.SIZE)
    assert registrar_pid(registry_folder) == former


def test_a_registrar_refuses_tables_of_a_newer_format(registry: adsum.Registry, registry_folder: Path) -> None:
    """A registrar of this version that finds tables of a newer format leaves every file of them as it was."""
    registry.register("a")
    registry.close()
    kill_registrar(registry_folder)
    make_newer(registry_folder)
    files = [registry_folder / "page", *registry_folder.glob("tables.*/data.mdb")]
    before = [file.read_bytes() for file in files]
    with pytest.raises(VersionMismatch, match="of a newer adsum than this one"):
        start_registrar(registry_folder, Launch(Limits()), time.monotonic() + 10)
    assert [file.read_bytes() for file in files] == before
