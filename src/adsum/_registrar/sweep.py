"""The sweep: before a registrar serves, it catches up with the time in which none ran.

Owners, claimers and the processes of owning members may have died and sessions may have ended, and no event will report
it. So each of them is watched, which says whether it is alive, and the kernel is asked about the session of every
standby.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._engine.batch import Batch, Death, EndedSession
from .._store import tables
from .._store.layout import Standby, key_of
from ..errors import RegistryFull
from ..model import Owner
from .ports import Ports
from .replies import OutgoingReply
from .server import DEAD_ENTRIES
from .wiring import Core, SweepResult


def sweep(core: Core, ports: Ports) -> SweepResult:
    """Watch every owner, claimer and process of an owning member; remove what ends with the dead ones, and the standbys
    of ended sessions."""
    with tables.read(core.generations.current) as stored:
        everyone = stored.owners()
        owners = [owner for owner in everyone if owner.pid]
        remote = sum(stored.count_owned(owner) for owner in everyone if not owner.pid)
        core.hosts.take_up(stored.hosts(), remote)
        standbys = list(stored.all_standbys())
        bound = _take_up(core, stored, owners, ports.clock.monotonic_ns())
    bound |= {standby.session: standby.owner for standby in standbys}
    watched = dict.fromkeys([*owners, *core.memory.claimers, *core.memory.dependants])
    dead = [owner for owner in watched if not ports.kernel.watch(owner)]
    ports.failpoint("sweeping")
    return SweepResult(bound, *_clean_up(core, ports, dead, standbys))


def _take_up(core: Core, stored: tables.ReadTransaction, owners: Sequence[Owner], now: int) -> dict[bytes, Owner]:
    """Take up heartbeats, gauges, claims and dependants. Returns the sessions that entries are bound to, with their
    owners.

    The records of one owner at a time: those of all together may be more than this process should ever hold.
    """
    bound = {}
    for owner in owners:
        for record in stored.owned(owner):
            if record.entry.row_place:
                core.members.take_up(record.entry)
            key = key_of(record.entry.process_id)
            core.heartbeats.inherit(key, record.entry, now)
            core.memory.claimers.inherit(key, record.entry)
            core.memory.dependants.inherit(key, record.entry)
            if record.session:
                bound[record.session] = owner
    return bound


def _leave_receipts(_replies: list[OutgoingReply]) -> None:
    """No client is connected yet: each asks again, and gets the answer that is in its receipt."""


def _clean_up(
    core: Core, ports: Ports, dead: Sequence[Owner], standbys: Sequence[Standby]
) -> tuple[list[Death], list[EndedSession]]:
    """Remove what is dead, one small batch after the other. Returns that for which there was no room."""
    # In the first batch: a standby of an ended session is granted no id that a death frees.
    ended = [EndedSession(one.owner, one.session) for one in standbys if ports.session_files.is_over(one.session)]
    batches = _batches(core, dead) or [[]]
    removed = 0
    for deaths in batches if dead or ended else ():
        try:
            core.committer.commit(Batch(deaths=deaths, ended=ended), _leave_receipts)
        except RegistryFull as error:
            ports.log.warning("could not sweep %d dead owners: %s", len(dead) - removed, error)
            return [Death(owner, None) for owner in dead[removed:]], ended
        removed += len(deaths)
        ended = []
    if removed:
        ports.log.info("swept %d dead owners", removed)
    return [], []


def _batches(core: Core, dead: Sequence[Owner]) -> list[list[Death]]:
    """The deaths in their order, so many at once that their cleanup holds about `DEAD_ENTRIES` records in memory."""
    batches: list[list[Death]] = []
    entries = DEAD_ENTRIES
    with tables.read(core.generations.current) as stored:
        for owner in dead:
            # It need not own an entry; the members of its claims are changed, and its dependants end.
            others = len(core.memory.claimers.held_by(owner)) + len(core.memory.dependants.of(owner, ()))
            count = max(1, stored.count_owned(owner) + others)
            if entries + count > DEAD_ENTRIES:
                batches.append([])
                entries = 0
            batches[-1].append(Death(owner, None))
            entries += count
    return batches
