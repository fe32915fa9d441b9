"""The sweep: before a registrar serves, it catches up with the time in which none ran.

Owners may have died and sessions may have ended, and no event will report it. So every owner is watched, which says
whether it is alive, and the kernel is asked about the session of every standby.
"""

from __future__ import annotations

from .._engine.batch import Batch, Death, EndedSession
from .._store import tables
from .._store.layout import key_of
from ..errors import RegistryFull
from .ports import Ports
from .postponed import Postponed
from .wiring import Core, Swept


def sweep(core: Core, ports: Ports) -> Swept:
    """Watch every owner; remove the entries of dead owners and the standbys of ended sessions."""
    with tables.read(core.generations.current) as stored:
        owners = stored.owners()
        standbys = [EndedSession(standby.owner, standby.session) for standby in stored.all_standbys()]
        records = [record for owner in owners for record in stored.owned(owner)]
    now = ports.clock.monotonic_ns()
    for record in records:
        core.heartbeats.inherit(key_of(record.entry.process_id), record.entry, now)
    dead = [Death(owner, None) for owner in owners if not ports.kernel.watch(owner)]
    ports.failpoint("sweeping")
    # A standby of an ended session is granted no id that a death frees.
    ended = [one for one in standbys if ports.session_files.is_over(one.session)]
    postponed = Postponed()
    if dead or ended:
        try:
            core.committer.commit(Batch(deaths=dead, ended=ended))
            ports.log.info("swept %d dead owners", len(dead))
        except RegistryFull as error:
            postponed = Postponed(dead, ended)
            ports.log.warning("could not sweep %d dead owners: %s", len(dead), error)
    bound = {standby.session: standby.owner for standby in standbys}
    bound |= {record.session: record.entry.owner for record in records if record.session}
    return Swept(bound, postponed)
