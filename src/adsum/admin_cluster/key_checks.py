"""Checks of the keys of a cluster in etcd: their layout, what a role allows, the hosts, and the clocks of hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .._bridge.keys import Keys
from .._bridge.records import (
    LAYOUT_VERSION,
    HostRecord,
    boot_here,
    decode_host,
    decode_number,
    decode_published,
    folder_digest,
)
from .._etcd.client import EtcdClient
from .._etcd.errors import AccessDenied
from .._etcd.records import Delete, Operation, Put, never
from .findings import Finding, ok, problem, warning

# So many entries are read to compare clocks.
SAMPLE = 500
SKEW_SECONDS = 2.0


async def check_layout(etcd: EtcdClient, keys: Keys) -> AsyncIterator[Finding]:
    """Whether the keys are of a version that this adsum knows."""
    page = await etcd.range(keys.version)
    if not page.items:
        yield ok("layout", "no host has joined yet")
        return
    try:
        found = decode_number(page.items[0].value)
    except msgspec.DecodeError:
        found = 0
    if found == LAYOUT_VERSION:
        yield ok("layout", f"the keys have layout {found}, which this adsum knows")
    else:
        yield problem(
            "layout",
            f"the keys have layout {found}, and this adsum knows {LAYOUT_VERSION}",
            "upgrade adsum on this host, or use another name for the cluster",
        )


async def check_role(etcd: EtcdClient, keys: Keys, host: str) -> AsyncIterator[Finding]:
    """Whether this host may do what its bridge does."""
    needed: dict[str, Operation] = {
        "write its own key": Put(keys.host(host), b""),
        "write its entries": Delete(keys.entries(host), prefix=True),
        "say how they ended": Put(keys.ended(host), b""),
        "say that all are written": Put(keys.whole(host), b""),
        "claim its node": Put(keys.node(host), b""),
        "claim names for the cluster": Put(keys.name("default", "adsum-check"), b""),
    }
    if not (await etcd.range(keys.version)).items:
        needed["write the layout, which no host has written yet"] = Put(keys.version, b"")
    denied = [what for what, operation in needed.items() if not await _may(etcd, keys, operation)]
    if denied:
        yield problem(
            "role",
            f"this host, as {host!r}, may not {', '.join(denied)}",
            "give its user the role that the page on TLS and roles shows; the name of the host is part of its keys",
        )
    else:
        yield ok("role", f"this host may do, as {host!r}, all that its bridge does")
    if not await _may(etcd, keys, Delete(keys.entries("adsum-check-other"), prefix=True)):
        yield ok("role", "this host may not forget other hosts that are lost: one host, or an operator, has to")


async def _may(etcd: EtcdClient, keys: Keys, operation: Operation) -> bool:
    try:
        await etcd.transaction([never(keys.version)], [operation])
    except AccessDenied:
        return False
    return True


async def check_hosts(etcd: EtcdClient, keys: Keys, host: str, folder: Path | None) -> AsyncIterator[Finding]:
    """Which hosts are in the cluster, with which versions of adsum, and whether another one has the name of this."""
    records: dict[str, HostRecord] = {}
    page = await etcd.range(keys.hosts, prefix=True)
    for item in page.items:
        name = item.key.removeprefix(keys.hosts).decode("ascii", "replace")
        try:
            records[name] = decode_host(item.value)
        except msgspec.DecodeError:
            yield problem("hosts", f"the key of the host {name!r} cannot be read", "see which version of adsum it runs")
    versions = sorted({record.version for record in records.values()})
    said = f"{len(records)} in the cluster" + (f", with adsum {', '.join(versions)}" if versions else "")
    own = records.get(host)
    if own is not None and folder is not None and not _is_of(own, folder):
        yield problem(
            "hosts",
            f"another registry has the name {host!r}: of another machine, boot, container or folder",
            f"give this host another name (--host, ADSUM_HOST); if the other one has ended, wait {own.ttl:g} s",
        )
    else:
        yield ok("hosts", said)


def _is_of(record: HostRecord, folder: Path) -> bool:
    try:
        return (record.boot, record.folder_digest) == (boot_here(), folder_digest(folder))
    except FileNotFoundError:
        return False


async def check_clocks(etcd: EtcdClient, keys: Keys) -> AsyncIterator[Finding]:
    """Whether a change of another host is in the future of this one's wall clock. Ages are shown with it;
    what is alive, and which member holds a name, is decided without."""
    page = await etcd.range(keys.all_entries, prefix=True, limit=SAMPLE)
    now = datetime.now(UTC)
    ahead: dict[str, float] = {}
    for item in page.items:
        split = keys.split(item.key)
        try:
            changed = decode_published(item.value).entry.last_updated
        except msgspec.DecodeError:
            continue
        if split is not None:
            ahead[split.host] = max(ahead.get(split.host, 0.0), (changed - now).total_seconds())
    wrong = {host: seconds for host, seconds in ahead.items() if seconds > SKEW_SECONDS}
    if wrong:
        yield warning(
            "clocks",
            ", ".join(f"the wall clock of {host} is at least {seconds:.1f} s ahead" for host, seconds in wrong.items())
            + " of this one's; ages that are shown are wrong",
            "set the clocks, with a time service; who is alive does not depend on them",
        )
    else:
        yield ok("clocks", f"none of {len(page.items)} entries is from the future of this clock")
