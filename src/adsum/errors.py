"""The errors adsum raises: one tree, one stable word each.

Every error derives from `AdsumError` and carries `reason`, a snake_case word that is part of the interface: programs
branch on the class or the word, people read the message, which says what happened, to what, and what to do next.
Errors survive pickling with their fields, so they cross `multiprocessing` and `concurrent.futures` unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from .model import Entry

_E = TypeVar("_E", bound="AdsumError")


class AdsumError(Exception):
    """The root of every error adsum raises; `reason` is the stable word for it."""

    reason: ClassVar[str] = "adsum_error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        vars(self).update(fields)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], dict(vars(self)))


def _rebuild(kind: type[_E], message: str, fields: dict[str, Any]) -> _E:
    return kind(message, **fields)


class AlreadyRegistered(AdsumError):
    """The id is held by a living process, perhaps this very one; `entry` is the holder's."""

    reason = "already_registered"
    entry: Entry


class InvalidProcessId(AdsumError, ValueError):
    """The id breaks a rule: three non-empty strings, no NUL, at most 480 bytes of UTF-8 in all."""

    reason = "invalid_process_id"


class InvalidName(AdsumError, ValueError):
    """The registry's name cannot be a folder name."""

    reason = "invalid_name"


class InvalidQuery(AdsumError, ValueError):
    """A condition of `find` or `count` has a value that no entry could have, or there is no such condition."""

    reason = "invalid_query"


class UnknownCondition(InvalidQuery, TypeError):
    """A keyword of `find` or `count` is no condition. It is a `TypeError` too, as any unknown keyword in Python."""

    reason = "unknown_condition"


class InvalidMetadata(AdsumError, ValueError):
    """A metadata field is unknown, of the wrong type or too large; the message names its path."""

    reason = "invalid_metadata"


class DeadProcess(AdsumError):
    """The process to register has exited (a zombie has), or its number never was a process."""

    reason = "dead_process"


class RegistryFull(AdsumError):
    """A limit of the registry is reached: memory or number of entries. Lookups and removals go on."""

    reason = "registry_full"


class SystemBusy(AdsumError):
    """More is asked at this moment than the registrar takes on, or this process has no descriptor or thread left;
    nothing was changed."""

    reason = "system_busy"


class OtherHost(AdsumError):
    """The member is of another host of the cluster, and only its own registry can do that; nothing was changed.
    `entry` is the member's."""

    reason = "other_host"
    entry: Entry


class Timeout(AdsumError, TimeoutError):
    """The deadline passed first. Past its deadline a request is never applied, so a later `lookup` settles it."""

    reason = "timeout"


class NotRegistered(AdsumError, KeyError):
    """No living process is registered under the id."""

    reason = "not_registered"


class Stale(AdsumError):
    """The id is held, but by another incarnation, or at another revision, than the one the call named; `entry` is the
    present one."""

    reason = "stale"
    entry: Entry


class RegistrarUnavailable(AdsumError):
    """No registrar could be reached or started, so a write could not be made; reads go on."""

    reason = "registrar_unavailable"


class ClusterUnavailable(AdsumError):
    """The cluster cannot be asked: no etcd member with a majority behind it was reached in time. Nothing was changed
    there; this host's own registry goes on."""

    reason = "cluster_unavailable"


class InvalidClusterAddress(AdsumError, ValueError):
    """The address of a cluster cannot be read, or names a file that cannot; the message says which part."""

    reason = "invalid_cluster_address"


class PermissionDenied(AdsumError, PermissionError):
    """The registry's folder belongs to another user, or gives other users access."""

    reason = "permission_denied"


class CorruptRegistry(AdsumError):
    """A file of the registry is damaged; the message names it and the remedy."""

    reason = "corrupt_registry"


class WrongNamespace(AdsumError):
    """The registry belongs to another PID namespace, where the same numbers name other processes."""

    reason = "wrong_namespace"


class VersionMismatch(AdsumError):
    """The registry or its registrar speaks another version of the format than this adsum."""

    reason = "version_mismatch"


class UnsupportedPlatform(AdsumError, NotImplementedError):
    """adsum needs Linux 5.3 or newer: this kernel cannot report the death of a process."""

    reason = "unsupported_platform"


class NoEventLoop(AdsumError, RuntimeError):
    """An awaited call runs outside an asyncio event loop, under trio for one; nothing was done."""

    reason = "no_event_loop"


class InternalError(AdsumError):
    """A defect of adsum: the registrar failed on this request, and changed nothing. Please report it."""

    reason = "internal_error"


class RegistryClosed(AdsumError):
    """This `Registry` object was closed; open another."""

    reason = "registry_closed"


BY_REASON: dict[str, type[AdsumError]] = {
    kind.reason: kind
    for kind in (
        AlreadyRegistered,
        InvalidProcessId,
        InvalidMetadata,
        InvalidName,
        InvalidQuery,
        UnknownCondition,
        DeadProcess,
        RegistryFull,
        SystemBusy,
        Timeout,
        NotRegistered,
        OtherHost,
        Stale,
        RegistrarUnavailable,
        ClusterUnavailable,
        InvalidClusterAddress,
        PermissionDenied,
        CorruptRegistry,
        WrongNamespace,
        VersionMismatch,
        UnsupportedPlatform,
        RegistryClosed,
        NoEventLoop,
        InternalError,
    )
}
