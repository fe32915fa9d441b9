"""A registry of the previous release in the hands of this one: made anew, migrated, replaced; nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import VersionMismatch, admin
from adsum._store import format_1, layout
from adsum._store import page as pages
from adsum.model import EPOCH, Entry, HealthSource, HealthStatus, Metadata, ProcessId
from tests.support import Agent, eventually, kill_registrar, registrar_pid

OldAgent = Callable[[], Agent]


def format_of(folder: Path) -> int:
    page = pages.peek(folder)
    assert page is not None
    return page.format


def replace(folder: Path) -> None:
    admin.replace_registrar(folder, timeout=20)


def test_without_a_living_member_it_is_made_anew(old_agent: OldAgent, registry_folder: Path) -> None:
    """No member is alive, and the old registrar lingers: reading finds nothing, the first write replaces it."""
    with old_agent() as old:
        old.do("registry.register('a')")
    assert format_of(registry_folder) == 1
    former = registrar_pid(registry_folder)
    with adsum.open(path=registry_folder, timeout=20) as registry:
        assert registry.lookup("a") is None
        assert registry.register("b").entry.incarnation == 1
        assert [entry.process_id.local_id for entry in registry.find()] == ["b"]
    assert format_of(registry_folder) == 2
    assert registrar_pid(registry_folder) != former


def test_it_is_made_anew_without_any_registrar(old_agent: OldAgent, registry_folder: Path) -> None:
    """Neither member nor registrar is alive: the first write makes the registry anew."""
    with old_agent() as old:
        old.do("registry.register('a')")
        kill_registrar(registry_folder)
    with adsum.open(path=registry_folder, timeout=20) as registry:
        registry.register("b")
        assert registry.count() == 1


def test_with_living_members_the_error_names_them_and_the_remedy(old_agent: OldAgent, registry_folder: Path) -> None:
    """Opening is refused, in words that name the member and the command; nothing is changed."""
    old = old_agent()
    old.do("registry.register('planner')")
    with pytest.raises(VersionMismatch, match=rf"planner \(pid {old.pid}\); run adsum registrar --replace"):
        adsum.open(path=registry_folder)
    old.do("registry.update('planner', endpoint='x')")
    assert format_of(registry_folder) == 1


def test_replacing_keeps_every_entry(old_agent: OldAgent, registry_folder: Path) -> None:
    """Entries keep incarnation, revision, metadata and times; indexes, owners, history and departures come along."""
    holder, other = old_agent(), old_agent()
    holder.do(
        "registry.register('a', capabilities={'x', 'y'}, resources={'gpu': 2}, custom={'b': b'\\x00', 'n': [None]})"
    )
    holder.do("registry.update_health('a', 'degraded')")
    holder.do("registry.register('late', heartbeat=5.0)")
    other.do("registry.register('gone')")
    other.do("registry.unregister('gone')")
    before = {entry.process_id: entry for entry in holder.value("registry.find()")}
    revision = holder.value("registry.stats().revision")
    replace(registry_folder)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert dict(registry) == before
        assert registry.audit() == []
        assert [entry.process_id.local_id for entry in registry.find(capability={"x", "y"})] == ["a"]
        assert registry.stats().revision == revision
        assert [departure.entry.process_id.local_id for departure in registry.departures()] == ["gone"]
        with registry.watch(since=revision - 1) as watch:
            assert watch.next(5).kind == "unregistered"
        assert registry.register("b").entry.incarnation == revision + 1


def test_a_row_keeps_the_private_part() -> None:
    """The session of an entry and its health before a missed heartbeat are carried over with it."""
    entry = Entry(ProcessId("default", "n", "a"), 1, 2, 3, 7, EPOCH, EPOCH, 9, Metadata(custom={"n": [1]}))
    # The fields that an entry had in that format.
    fields = msgspec.msgpack.decode(layout.encode(entry))[:10]
    row = msgspec.msgpack.encode([*fields, b"session", ["degraded", "other"]])
    converted = layout.decode_record(format_1.entries_row(row))
    assert converted == layout.Record(entry, b"session", (HealthStatus.degraded, HealthSource.other))
    assert format_1.process_id_of(row) == entry.process_id


def test_the_members_are_watched_as_before(old_agent: OldAgent, registry_folder: Path) -> None:
    """S2 and I6 hold for a member of the older version: killed after the migration, it is gone."""
    old = old_agent()
    old.do("registry.register('a')")
    replace(registry_folder)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert registry["a"].pid == old.pid
        old.kill()
        assert registry.lookup("a") is None
        eventually(lambda: registry.stats().entries == 0)


def test_a_member_of_the_older_version_is_told_so_in_its_own_words(old_agent: OldAgent, registry_folder: Path) -> None:
    """It stays registered; its own calls raise `VersionMismatch` until it runs this version."""
    old = old_agent()
    old.do("registry.register('a')")
    old.do("watch = registry.watch()")
    replace(registry_folder)
    with pytest.raises(VersionMismatch):
        old.do("watch.next(10)")
    with pytest.raises(VersionMismatch, match="format"):
        eventually(lambda: old.value("registry.lookup('a')") is None)
    with pytest.raises(VersionMismatch):
        old.do("registry.update('a', endpoint='x')")
    assert format_of(registry_folder) == 2
    with adsum.open(path=registry_folder) as registry:
        assert registry["a"].pid == old.pid


def test_a_standby_of_the_older_version_keeps_its_position(old_agent: OldAgent, registry_folder: Path) -> None:
    """The id goes to the process that stood by for it before the migration, though its client cannot hear of it."""
    holder, waiting = old_agent(), old_agent()
    holder.do("registry.register('a')")
    waiting.do("granted = registry.stand_by('a')")
    replace(registry_folder)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        holder.kill()
        eventually(lambda: registry.get("a") is not None)
        assert registry["a"].pid == waiting.pid
