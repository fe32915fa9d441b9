"""Which versions of etcd adsum may rely on, and why, as data for `adsum doctor`.

Sources: etcd's changelogs 3.5 and 3.6, and what was seen with real servers (docs/decisions/0060-etcd-client.md).
"""

from __future__ import annotations

import re

import msgspec

Version = tuple[int, int, int]


class KnownFault(msgspec.Struct, frozen=True):
    """A fault of etcd that matters to adsum. It is mended from the first version of `mended` in each series on."""

    mended: tuple[Version, ...]
    fault: str


class Verdict(msgspec.Struct, frozen=True):
    """What there is to say about a server: `level` is `ok`, `advice` or `below_minimum`; `reasons` are sentences."""

    version: str
    level: str
    reasons: tuple[str, ...] = ()


# The oldest of each series that adsum may rely on, and the ones to run.
MINIMUM: tuple[Version, ...] = ((3, 5, 23), (3, 6, 5), (3, 7, 0))
ADVISED: tuple[Version, ...] = ((3, 5, 33), (3, 6, 14), (3, 7, 1))

FAULTS = (
    KnownFault(
        ((3, 4, 0), (3, 5, 3), (3, 6, 0)),
        "a member that was killed may lack changes that it has confirmed (etcd issue 13766)",
    ),
    KnownFault(
        ((3, 5, 8), (3, 6, 0)),
        "the progress that a watch reports may be ahead of its events (etcd issue 15220)",
    ),
    KnownFault(
        ((3, 5, 13), (3, 6, 0)),
        "a watch may lose events after a compaction, and a former leader may revoke leases that are kept alive (etcd "
        "pull requests 17612 and 17425)",
    ),
    KnownFault(
        ((3, 5, 18), (3, 6, 0)),
        "a watch that begins at a compacted revision loses a delete at that very revision, and says nothing",
    ),
    KnownFault(
        ((3, 5, 22), (3, 6, 2)),
        "a watch from a revision that is still to come reports progress it has not made (etcd issue 20221)",
    ),
    KnownFault(
        ((3, 5, 23), (3, 6, 5)),
        "the renewal of a lease that is being revoked is answered as if it had succeeded (etcd issue 20616)",
    ),
    KnownFault(
        ((3, 5, 33), (3, 6, 14), (3, 7, 1)),
        "a watch may be opened on keys that the user's role does not allow (GHSA-xg4h-6gfc-h4m8)",
    ),
)


def parse(text: str) -> Version | None:
    """The three numbers of a version such as `3.5.30` or `3.6.0-rc.1`, None for anything else."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def judge(text: str) -> Verdict:
    """What to say about a server of this version, with the reason for each thing."""
    version = parse(text)
    if version is None:
        return Verdict(text, "below_minimum", (f"{text!r} is no version of etcd that adsum knows",))
    reasons = tuple(fault.fault for fault in FAULTS if not reaches(version, fault.mended))
    if not reaches(version, MINIMUM):
        return Verdict(text, "below_minimum", reasons)
    return Verdict(text, "advice" if reasons else "ok", reasons)


def is_reliable(text: str) -> bool:
    """Whether a server of this version has none of the faults that the minimum excludes."""
    version = parse(text)
    return version is not None and reaches(version, MINIMUM)


def reaches(version: Version, wanted: tuple[Version, ...]) -> bool:
    """Whether a version is at least the wanted one of its own series; a series after all of them is."""
    for first in wanted:
        if version[:2] == first[:2]:
            return version >= first
    return version > max(wanted)
