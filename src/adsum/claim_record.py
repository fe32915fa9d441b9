"""`ClaimRecord`: what an entry says about one of its claims."""

from datetime import datetime

import msgspec


class ClaimRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One claim on a member: a slot of it that a process holds. `Entry.claims` has those of an entry.

    - `number`: names the claim among all of the claimer's, as `Claim.number` does.
    - `pid`, `start_time`, `pidfd_inode`: the claimer, the process whose death ends the claim.
    - `since`: the UTC time at which the registrar granted it.

    Fields are only ever appended: stored rows are arrays.

    >>> registration = registry.register("printer")
    >>> with registry.claim("printer") as claim:
    ...     record = registry["printer"].claims[0]
    >>> record.pid == os.getpid(), record.number == claim.number
    (True, True)
    """

    number: int
    pid: int
    start_time: int
    pidfd_inode: int
    since: datetime
