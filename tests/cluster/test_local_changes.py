"""What the bridge takes of its own registry: each change, and the revision from which on it is owed to the cluster."""

from __future__ import annotations

from pathlib import Path

from adsum import Registry
from adsum import _wire as wire
from adsum._bridge.local import LocalRegistry
from adsum._bridge.records import EndRecord
from adsum._store.hosts import boottime_ns
from adsum._store.layout import key_of


async def test_a_change_is_owed_from_its_own_revision_on(registry: Registry, registry_folder: Path) -> None:
    """Changes of other hosts that come next are taken with it. Were it owed from a later revision on, all before that
    one would be shown as published, and `published()` would return before the entry is in etcd."""
    registry.register("first")
    owed: dict[bytes, int] = {}

    def note(key: bytes, _ended: EndRecord | None, since: int) -> None:
        owed[key] = since

    async with LocalRegistry(registry_folder) as local:
        local.on_change = note
        local.show(heard=(boottime_ns(), 60_000_000_000))
        local.catch_up()
        one = registry.register("one").entry
        await local.ask(wire.ApplyRemote(hosts=[wire.RemoteHost("other", "here", b"boot", 7)]))
        two = registry.register("two").entry
        await local.ask(wire.ApplyRemote(hosts=[wire.RemoteHost("other", "unreachable")]))
        assert registry.stats().revision > two.revision > one.revision + 1
        local.catch_up()
        assert owed == {key_of(entry.process_id): entry.revision for entry in (one, two)}
        assert local.revision == registry.stats().revision
