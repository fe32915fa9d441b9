"""Checks of etcd itself: its members, their versions and databases, the majority, alarms, and the history."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from .._bridge.keys import Keys
from .._etcd import versions
from .._etcd.address import EtcdMember
from .._etcd.client import EtcdClient
from .._etcd.errors import AccessDenied, Compacted, EtcdError, NotAuthenticated, WatchCanceled
from .._etcd.records import Status
from .findings import Finding, ok, problem, warning

STATUS_SECONDS = 3.0
# etcd's default, which it does not say before version 3.6.
DEFAULT_QUOTA = 2 * 1024**3
NEARLY_FULL, HALF_FULL = 0.8, 0.5
# A write of adsum leaves about 300 bytes of history (docs/how-to/cluster-operating.md): so many are 300 MB.
MUCH_HISTORY = 1_000_000
# A cluster with so many revisions has run for long enough to have been compacted.
MANY_REVISIONS = 20_000
SLOW_SECONDS = 0.1
USER_REMEDY = "use a certificate whose common name is a user of etcd, or etcd://USER@... with ADSUM_ETCD_PASSWORD"


async def check_members(etcd: EtcdClient) -> AsyncIterator[Finding]:
    """One finding for each member that the address names, and more where something is wrong with one."""
    found: dict[str, Status] = {}
    for member in etcd.address.members:
        try:
            found[str(member)] = await etcd.status(member, timeout=STATUS_SECONDS)
        except EtcdError as error:
            yield _unreachable(member, error)
    for name, status in found.items():
        for finding in (_version(name, status), _leader(name, status), _space(name, status)):
            yield finding
    if len({status.cluster_id for status in found.values()}) > 1:
        yield problem(
            "etcd members",
            "the address names members of different clusters of etcd: "
            + ", ".join(f"{name} is of {status.cluster_id:x}" for name, status in found.items()),
            "name the members of one cluster",
        )
    leaders = {status.leader for status in found.values() if status.leader}
    if len(leaders) > 1:
        yield warning("etcd leader", "the members disagree about who leads", "look again in some seconds")


def _unreachable(member: EtcdMember, error: EtcdError) -> Finding:
    if isinstance(error, AccessDenied):
        return problem("etcd member", str(error), "allow the user of this host to ask for the status")
    if isinstance(error, NotAuthenticated):
        return problem("etcd member", str(error), USER_REMEDY)
    return problem(
        "etcd member",
        f"{member} does not answer: {getattr(error, 'detail', '') or error}",
        "start it, or take it out of the address; check the network, the port, and etcd:// against etcds://",
    )


def _version(name: str, status: Status) -> Finding:
    verdict = versions.judge(status.version)
    said = f"{name} has version {status.version}"
    if verdict.level == "ok":
        return ok("etcd version", said)
    minimum, advised = (
        ", ".join(".".join(map(str, one)) for one in some) for some in (versions.MINIMUM, versions.ADVISED)
    )
    if verdict.level == "below_minimum":
        return warning(
            "etcd version",
            f"{said}, older than what adsum relies on ({minimum}): {'; '.join(verdict.reasons)}",
            f"upgrade etcd, best to {advised}",
        )
    return warning("etcd version", f"{said}: {'; '.join(verdict.reasons)}", f"upgrade etcd to {advised}")


def _leader(name: str, status: Status) -> Finding:
    if status.is_learner:
        return problem("etcd leader", f"{name} is a learner, which answers few requests", "leave it out of the address")
    if not status.leader:
        return problem(
            "etcd leader",
            f"{name} knows no leader: no host can join, register names everywhere, or be heard of",
            "start the other members, until a majority runs; check the network between them",
        )
    if status.errors:
        return problem("etcd errors", f"{name} says: {', '.join(status.errors)}", "see the log of that member")
    role = "leads" if status.leader == status.member_id else f"follows {status.leader:x}"
    return ok("etcd leader", f"{name} {role}, at revision {status.revision}")


def _space(name: str, status: Status) -> Finding:
    quota = status.db_size_quota or DEFAULT_QUOTA
    part = status.db_size / quota
    known = "" if status.db_size_quota else ", if that is the default of 2 GiB: before 3.6 etcd does not say"
    said = f"the database of {name} has {status.db_size / 1e6:.1f} MB, {part:.0%} of its quota{known}"
    spare = status.db_size - status.db_size_in_use
    remedy = "have etcd compact (--auto-compaction-mode=periodic --auto-compaction-retention=5m), and defragment it"
    if part >= NEARLY_FULL:
        return problem("etcd space", f"{said}; a defragmentation would free {spare / 1e6:.1f} MB", remedy)
    if part >= HALF_FULL:
        return warning("etcd space", said, remedy)
    return ok("etcd space", said)


async def check_majority(etcd: EtcdClient, keys: Keys) -> AsyncIterator[Finding]:
    """Whether a majority answers, and how soon; and the alarms that it has raised."""
    began = time.monotonic()
    await etcd.range(keys.version)
    seconds = time.monotonic() - began
    said = f"a majority answers in {seconds * 1000:.1f} ms"
    if seconds > SLOW_SECONDS:
        yield warning("etcd majority", said, "use members that are near: one etcd per site, on disks of their own")
    else:
        yield ok("etcd majority", said)
    alarms = await etcd.alarms()
    for alarm in alarms:
        remedy = "see etcd's documentation, 'Data corruption'"
        if alarm.kind == "nospace":
            remedy = "compact, defragment, and then: etcdctl alarm disarm. Until then no host and no member can join"
        yield problem("etcd alarms", f"member {alarm.member_id:x} has raised {alarm.kind}", remedy)
    if not alarms:
        yield ok("etcd alarms", "none is raised")


async def check_history(etcd: EtcdClient, keys: Keys) -> AsyncIterator[Finding]:
    """How much history etcd keeps: what can be known from outside of whether it is compacted."""
    compacted = await _compacted_to(etcd, keys)
    kept = etcd.revision - compacted
    remedy = "start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=5m"
    if not compacted and etcd.revision > MANY_REVISIONS:
        yield warning(
            "etcd history",
            f"it was never compacted: all {etcd.revision} revisions are kept, until its quota is full",
            remedy,
        )
    elif kept > MUCH_HISTORY:
        yield warning("etcd history", f"it keeps {kept} revisions, since it was compacted to {compacted}", remedy)
    elif not compacted:
        yield ok("etcd history", f"all {etcd.revision} revisions are kept, too few to see whether it is compacted")
    else:
        yield ok(
            "etcd history",
            f"compacted to revision {compacted}, {kept} are kept; whether that is repeated cannot be seen from here",
        )


async def _compacted_to(etcd: EtcdClient, keys: Keys) -> int:
    """The revision to which etcd was compacted, 0 where it was not. A watch from the beginning is refused with it."""
    try:
        async with etcd.watch(keys.version, start_revision=1) as watch:
            # The first response has the first change of the key, or says that there was none.
            await anext(watch)
    except Compacted as error:
        return error.compact_revision
    except WatchCanceled as error:
        raise AccessDenied(str(error)) from error
    return 0
