"""What the engine knows of earlier batches without reading it from the tables."""

import msgspec

from .batch import Decision
from .claimers import Claimers
from .dependants import Dependants
from .free_rows import FreeMemberRows
from .known_hosts import KnownHosts
from .reservations import Reservations


class Memory(msgspec.Struct, frozen=True):
    """The memory of one registrar. A decision only reads it; it follows each commit.

    - `free_rows`: the member rows that can be given.
    - `claimers`, `dependants`: the claims, and the entries that end with the process of another member.
    - `hosts`: the other hosts of the cluster.
    - `reservations`: the ids whose holders register themselves anew.
    """

    free_rows: FreeMemberRows = msgspec.field(default_factory=FreeMemberRows)
    claimers: Claimers = msgspec.field(default_factory=Claimers)
    dependants: Dependants = msgspec.field(default_factory=Dependants)
    hosts: KnownHosts = msgspec.field(default_factory=KnownHosts)
    reservations: Reservations = msgspec.field(default_factory=Reservations)

    def follow(self, decision: Decision) -> None:
        """A batch was committed. Only the hosts follow it earlier, because readers see their words."""
        self.claimers.follow(decision.changes, decision.joined, decision.left)
        self.dependants.follow(decision.changes)
        if self.reservations.by_key:
            self.reservations.follow(decision.changes, decision.unreserved)
        for change in decision.changes:
            self.free_rows.follow(change)
