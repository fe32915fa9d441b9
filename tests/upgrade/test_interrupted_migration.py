"""A migration that does not complete: the registrar is killed at a step, or the machine refuses it memory."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import Limits, VersionMismatch
from adsum._client import launch, spawn
from adsum._os import start_arguments
from adsum._os.log import Log
from adsum._store import migration, older_tables
from adsum._store import page as pages
from tests.support import Agent, eventually, kill_registrar, registrar_pid

OldAgent = Callable[[], Agent]


def format_of(folder: Path) -> int:
    page = pages.peek(folder)
    assert page is not None
    return page.format


def start(folder: Path) -> bool:
    """Start a registrar of this version."""
    return spawn.start_registrar(folder, launch.Launch(Limits()), time.monotonic() + 10)


@pytest.fixture
def start_and_die(registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Starts a registrar that is killed at a step. It gets no environment, so the failpoint is in its program."""

    def start_at(step: str) -> None:
        (token := tmp_path / "token").touch()
        with monkeypatch.context() as patch:
            failpoint = f"import os; os.environ['ADSUM_FAILPOINT'] = {f'{step}:{token}'!r}; "
            patch.setattr(launch, "BOOT", failpoint + start_arguments.BOOT)
            # No second try, which would complete the migration.
            patch.setattr(spawn, "_PAUSES", ())
            with pytest.raises(adsum.RegistrarUnavailable, match=r"SIGKILL|exit status 0"):
                start(registry_folder)
        assert not token.exists()
        eventually(lambda: registrar_pid(registry_folder) is None)

    return start_at


@pytest.mark.parametrize(
    ("step", "format"), [("starting", 1), ("migrating", 1), ("converted", 1), ("migrated", 2), ("sweeping", 2)]
)
def test_a_kill_leaves_one_registry_whole(
    step: str, format: int, old_agent: OldAgent, registry_folder: Path, start_and_die: Callable[[str], None]
) -> None:
    """Before the page is replaced the old registry is whole, and its members read it. After it the new one is. In both
    cases the next registrar completes the migration, and only the tables of the present generation are left."""
    old = old_agent()
    old.do("registry.register('a', capabilities={'x'})")
    entry = old.value("registry['a']")
    kill_registrar(registry_folder)
    start_and_die(step)
    assert format_of(registry_folder) == format
    if format == 1:
        assert old.value("registry['a']") == entry
    assert start(registry_folder)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert dict(registry) == {entry.process_id: entry}
        assert registry.audit() == []
    assert [path.name for path in registry_folder.glob("tables.*")] == ["tables.2"]
    assert not (registry_folder / "page.replaced").exists()


@pytest.mark.parametrize("by", ["operator", "writer"])
def test_a_kill_before_an_unneeded_page_is_removed_leaves_no_registry(
    by: str, old_agent: OldAgent, registry_folder: Path, start_and_die: Callable[[str], None]
) -> None:
    """Where no living member needs the older registry, its page is retired first. After a kill at that moment there is
    no registry, and the next registrar makes one."""
    with old_agent() as old:
        old.do("registry.register('gone')")
    kill_registrar(registry_folder)
    start_and_die("retired")
    assert pages.peek(registry_folder) is None
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert registry.lookup("gone") is None
        if by == "operator":
            assert start(registry_folder)
        assert registry.register("new").entry.incarnation == 1
        assert registry.audit() == []


def test_a_page_that_is_retired_while_a_client_looks_at_it_is_no_damage(
    old_agent: OldAgent, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar retires the older page after a client has found it, and before it has looked who needs it."""
    with old_agent() as old:
        old.do("registry.register('gone')")
    kill_registrar(registry_folder)
    attach = pages.attach

    def attach_slowly(folder: Path) -> pages.Page | None:
        try:
            return attach(folder)
        except pages.OlderFormat:
            older = pages.peek(folder, writable=True)
            assert older is not None
            older.retire()
            raise

    monkeypatch.setattr(pages, "attach", attach_slowly)
    assert older_tables.attach(registry_folder, older_tables.require_no_member) == (None, None)


def test_a_reader_trusts_no_entry_of_a_replaced_page(
    old_agent: OldAgent, registry_folder: Path, start_and_die: Callable[[str], None]
) -> None:
    """A process of the older version has cached an entry, and the migrating registrar is killed before it retires the
    old page. Once the next registrar serves, that process trusts its cache no more."""
    old = old_agent()
    old.do("registry.register('a')")
    old.do("registry.lookup('a')")
    kill_registrar(registry_folder)
    start_and_die("migrated")
    assert start(registry_folder)
    with pytest.raises(VersionMismatch):
        old.do("registry.lookup('a')")


@pytest.mark.parametrize("step", ["migrating", "converted"])
def test_a_failure_leaves_the_old_registry_and_no_memory_in_use(
    step: str, old_agent: OldAgent, registry_folder: Path
) -> None:
    """Where memory runs out, the half-made tables are removed: the folder is in RAM."""
    old = old_agent()
    old.do("registry.register('a')")
    kill_registrar(registry_folder)

    def fail(reached: str) -> None:
        if reached == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    older = pages.peek(registry_folder, writable=True)
    assert older is not None
    with pytest.raises((OSError, adsum.RegistryFull)):
        migration.migrate(registry_folder, older, fail, Log(sys.stderr))
    assert [path.name for path in registry_folder.glob("tables.*")] == ["tables.1"]
    assert old.value("registry['a'].pid") == old.pid
