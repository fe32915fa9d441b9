"""What a bridge says about itself, in a file of the registry's folder that any tool may read, also without grpcio."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from .._foreign import reraise_foreign
from .._store.hosts import boottime_ns
from .cluster import running_bridge

STATUS_NAME = "bridge.status"
# A bridge says how it is so often; one that has said nothing for so long is stopped, or stuck.
SAY_SECONDS = 2.0
SILENT_SECONDS = 8.0


class BridgeStatus(msgspec.Struct, frozen=True):
    """What a bridge says about itself, every two seconds.

    - `pid`: of the bridge, in its own PID namespace. `started_ns`: when it started, on CLOCK_BOOTTIME.
    - `cluster`, `host`, `ttl`, `forget_after`: what it was started with; see `adsum bridge --help`.
    - `foreground`: whether a person or a service manager started it; else it was started on demand.
    - `version`: that of adsum.
    - `trouble`: why it does not publish now; empty where it does. Also that it has said nothing for eight seconds: it
      is stopped, or stuck.
    - `member`: the etcd member that it asks.
    - `fence`: the revision of etcd since which it vouches for the entries of this host; 0 while it does not.
      `tenures`: how many fences it has had.
    - `revision`: that of etcd up to which everything is in the tables here. `loads`: how often it has read all of it.
    - `hosts`: how many other hosts it knows. `writes`: how many changes of entries it has written to etcd.
    - `refused_nodes`: nodes of members here that belong to other hosts, so that those members stay here.
    - `too_large`: ids of members here that are too large for etcd, and stay here too.
    - `written_ns`: when it said this, on CLOCK_BOOTTIME.
    """

    pid: int
    cluster: str
    host: str
    ttl: float
    version: str
    trouble: str
    member: str
    fence: int
    revision: int
    hosts: int
    writes: int
    loads: int
    refused_nodes: list[str]
    forget_after: float = 0.0
    foreground: bool = False
    started_ns: int = 0
    tenures: int = 0
    too_large: list[str] = []
    written_ns: int = 0


def status_in(folder: Path) -> BridgeStatus | None:
    """What the bridge of a folder says about itself; None where none has said anything."""
    try:
        return _judged(msgspec.json.decode((folder / STATUS_NAME).read_bytes(), type=BridgeStatus))
    except (OSError, msgspec.DecodeError) as error:
        reraise_foreign(error)
        return None


def _judged(status: BridgeStatus) -> BridgeStatus:
    """What it says, with the trouble that it has said nothing since."""
    seconds = (boottime_ns() - status.written_ns) / 1e9
    # A bridge of an older adsum does not say when.
    if not status.written_ns or seconds < SILENT_SECONDS:
        return status
    silent = f"it has said nothing for {seconds:.0f} s: it is stopped (kill -CONT {status.pid}), or cannot write here"
    return msgspec.structs.replace(status, trouble=f"{silent}; {status.trouble}" if status.trouble else silent)


def trouble_in(folder: Path) -> str:
    """Why the bridge of a folder does not publish now; empty where it does, or has not said anything."""
    if running_bridge(folder) is None:
        return "no bridge runs"
    status = status_in(folder)
    return "" if status is None else status.trouble


def write(folder: Path, status: BridgeStatus) -> None:
    """Say this. Errors: `OSError`, where the file system is full or the folder is gone."""
    unfinished = folder / f"{STATUS_NAME}.new"
    unfinished.write_bytes(msgspec.json.encode(status))
    unfinished.rename(folder / STATUS_NAME)


def remove(folder: Path) -> None:
    """Say nothing any more."""
    with contextlib.suppress(OSError):
        os.unlink(folder / STATUS_NAME)
