"""A registry that is part of a cluster: what its file ``cluster`` says, and whether a bridge of it runs.

Where it has left the cluster, a file ``cluster.left`` says so: it keeps programs that run from joining again, until one
opens the registry with an address. A folder that is made anew has neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from .._etcd.address import parse
from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os.presence import is_held
from ..errors import ClusterUnavailable, InvalidClusterAddress, Timeout

FILE_NAME = "cluster"
LEFT_NAME = "cluster.left"
LOCK_NAME = "bridge"
LOG_NAME = "bridge.log"
DEFAULT_TTL = 10.0
FORGET_AFTER = 600.0
# A host name goes into keys and roles of etcd.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
# How often a lock is tried.
_TRY_SECONDS = 0.005


class JoinedCluster(msgspec.Struct, frozen=True):
    """The cluster that a registry is part of: the address, the name of this host (empty for the registry's own node),
    and, in seconds, the time to live of its lease and the time after which it forgets hosts that it cannot reach."""

    address: str
    host: str = ""
    ttl: float = DEFAULT_TTL
    forget_after: float = FORGET_AFTER


def joined(folder: Path) -> JoinedCluster | None:
    """The cluster that the registry in a folder is part of; None where it is part of none."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=JoinedCluster)
    except (FileNotFoundError, NotADirectoryError) as error:
        reraise_foreign(error)
        return None
    except (OSError, msgspec.DecodeError) as error:
        reraise_foreign(error)
        raise InvalidClusterAddress(
            f"{folder / FILE_NAME} cannot be read ({error}); remove it, and open the registry with cluster= again"
        ) from error


def wanted(address: str, environment: Mapping[str, str]) -> JoinedCluster:
    """What a process asks for with this address. Errors: `InvalidClusterAddress`."""
    ttl = environment.get("ADSUM_CLUSTER_TTL") or DEFAULT_TTL
    forget_after = environment.get("ADSUM_CLUSTER_FORGET_AFTER") or FORGET_AFTER
    return JoinedCluster(
        address,
        checked_host("ADSUM_HOST", environment.get("ADSUM_HOST", "")),
        checked_ttl("ADSUM_CLUSTER_TTL", ttl),
        checked_forget_after("ADSUM_CLUSTER_FORGET_AFTER", forget_after),
    )


def is_host_name(name: str) -> bool:
    """Whether a host can have this name: letters, digits, dots, hyphens and underscores."""
    return _HOST.fullmatch(name) is not None


def checked_host(name: str, value: object) -> str:
    """The name of a host; an empty one is the registry's own node. Errors: `InvalidClusterAddress`, which calls it
    `name`."""
    return "" if value == "" else named_host(name, value)


def named_host(name: str, value: object) -> str:
    """The name of a host, which is not empty. Errors: `InvalidClusterAddress`, which calls it `name`."""
    if not isinstance(value, str) or not is_host_name(value):
        raise InvalidClusterAddress(
            f"{name}={value!r}: give the name of a host, 1 to 253 letters, digits, '.', '-' or '_', of which the first "
            "is a letter or digit"
        )
    return value


def checked_ttl(name: str, value: object) -> float:
    """A time to live. Errors: `InvalidClusterAddress`, which calls it `name`."""
    return _checked_seconds(name, value, 2.0, 3600.0)


def checked_forget_after(name: str, value: object) -> float:
    """A time after which hosts are forgotten. Errors: `InvalidClusterAddress`, which calls it `name`."""
    return _checked_seconds(name, value, 1.0, 31_536_000.0)


def _checked_seconds(name: str, value: object, least: float, most: float) -> float:
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError) as error:
        reraise_foreign(error)
        seconds = math.nan
    if not least <= seconds <= most:
        raise InvalidClusterAddress(f"{name}={value!r}: give seconds from {least:.9g} to {most:.9g}")
    return seconds


def agreed(folder: Path, wanted: JoinedCluster) -> JoinedCluster:
    """What the registry in a folder is part of, or would be once it has joined. Changes nothing. Errors:
    `InvalidClusterAddress` for an address that cannot be read, or where it is part of another cluster;
    `ClusterUnavailable` where the extra is not installed."""
    address = str(parse(wanted.address))
    require_extra()
    present = joined(folder)
    if present is not None and present.address != address:
        raise InvalidClusterAddress(
            f"the registry in {folder} is part of the cluster {present.address}, not {address}; give its address, or "
            "another registry (name=, path=). To change it: adsum bridge --leave, and then open it again"
        )
    return present or msgspec.structs.replace(wanted, address=address)


def join(folder: Path, wanted: JoinedCluster) -> JoinedCluster:
    """Have the registry in a folder be part of a cluster, and return what it is part of. Errors: those of `agreed`."""
    present = agreed(folder, wanted)
    if joined(folder) is None:
        folders.create(folder)
        unfinished = _unfinished(folder, present)
        # Another process may be first: its file stays.
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, folder / FILE_NAME)
        os.unlink(unfinished)
        present = agreed(folder, wanted)
    (folder / LEFT_NAME).unlink(missing_ok=True)
    return present


def forget(folder: Path) -> None:
    """Have the registry in a folder be part of no cluster, until a process joins it on purpose."""
    # First, or a program that runs would join again in between.
    with contextlib.suppress(FileNotFoundError):
        (folder / LEFT_NAME).write_bytes(b"")
    (folder / FILE_NAME).unlink(missing_ok=True)


def has_left(folder: Path) -> bool:
    """Whether the registry in a folder has left its cluster, and was not made anew since."""
    return (folder / LEFT_NAME).exists()


def change(folder: Path, joined: JoinedCluster) -> None:
    """Replace what a registry that has joined says about its host; the next bridge reads it."""
    _unfinished(folder, joined).rename(folder / FILE_NAME)


@contextlib.contextmanager
def none_starts(folder: Path, until: float) -> Iterator[None]:
    """Within this, no program that keeps a bridge running starts one. Errors: `Timeout` where another process is still
    starting one at `until` (monotonic)."""
    descriptor = lock_starting(folder)
    while descriptor is None and (folder / FILE_NAME).exists():
        if time.monotonic() >= until:
            raise Timeout(f"a process is still starting a bridge of {folder}; try again, and see its {LOG_NAME}")
        time.sleep(_TRY_SECONDS)
        descriptor = lock_starting(folder)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_starting(folder: Path) -> int | None:
    """The file `FILE_NAME`, locked: of many processes only one starts a bridge. None where another one has the lock,
    and where the registry is part of no cluster."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        reraise_foreign(error)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The lock counts only if the file was not replaced or removed meanwhile.
        if os.path.samestat((folder / FILE_NAME).stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError) as error:
        reraise_foreign(error)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _unfinished(folder: Path, joined: JoinedCluster) -> Path:
    """A file beside `FILE_NAME` that no other process writes."""
    path = folder / f"{FILE_NAME}.{os.urandom(6).hex()}"
    path.write_bytes(msgspec.json.encode(joined))
    return path


def require_extra() -> None:
    """Errors: `ClusterUnavailable` where the packages that speak to etcd are missing."""
    if importlib.util.find_spec("grpc") is None:
        raise ClusterUnavailable("a cluster needs grpcio and protobuf; install them: pip install 'adsum[cluster]'")


def running_bridge(folder: Path) -> int | None:
    """The pid of the bridge of a folder, as its own PID namespace numbers it, 0 where that is not known; None where
    none runs."""
    file = folder / LOCK_NAME
    try:
        said = file.read_bytes().strip() if is_held(file) else None
    except OSError as error:
        reraise_foreign(error)
        return None
    return None if said is None else int(said) if said.isdigit() else 0
