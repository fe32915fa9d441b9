"""What may go wrong between adsum and etcd, and the one module where the answers of gRPC become that.

Three cases matter to a caller that writes, and are never mixed up:

- `Refused`: etcd answered, and did nothing. The same request would be refused again.
- `Unavailable`: no server was reached, or it said that it has no leader. For sure nothing was done. A read
  that was not answered is `Unavailable` too.
- `OutcomeUnknown`: the request was sent and no answer came. It may have been carried out, and may still be.

These errors stay inside adsum: the bridge says to users what they mean, such as `adsum.ClusterUnavailable`.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, TypeVar

import grpc
import grpc.aio

_E = TypeVar("_E", bound="EtcdError")


class EtcdError(Exception):
    """The root of all errors of this package. `reason` is a stable word; fields are attributes; it can be pickled."""

    reason: ClassVar[str] = "etcd_error"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        vars(self).update(fields)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], dict(vars(self)))


def _rebuild(kind: type[_E], message: str, fields: dict[str, object]) -> _E:
    return kind(message, **fields)


class Unavailable(EtcdError):
    """No etcd member could do it within the time, and none has done it. `member` is the last that was tried."""

    reason = "cluster_unavailable"
    member: str = ""
    status: str = ""
    detail: str = ""


class OutcomeUnknown(EtcdError):
    """A write was sent to `member` and not answered: it may have been carried out, or may be later."""

    reason = "outcome_unknown"
    member: str = ""
    status: str = ""
    detail: str = ""


class Refused(EtcdError):
    """The etcd member `member` refused the request and did nothing. `status` is gRPC's word, `detail` etcd's."""

    reason = "refused"
    member: str = ""
    status: str = ""
    detail: str = ""


class LeaseNotFound(Refused):
    """The lease was revoked or has expired, or never existed."""

    reason = "lease_not_found"


class LeaseExists(Refused):
    """A lease was to be granted under an id that another lease has."""

    reason = "lease_exists"


class Compacted(Refused):
    """The history at the wanted revision is gone. `compact_revision` is the oldest that is left, 0 where unknown."""

    reason = "compacted"
    compact_revision: int = 0


class FutureRevision(Refused):
    """A read at a revision that this etcd member has not reached."""

    reason = "future_revision"


class NoSpace(Refused):
    """The quota of etcd's database is used up (alarm NOSPACE). Deletes and keep-alives go on, puts and grants fail."""

    reason = "no_space"


class RequestTooLarge(Refused):
    """The request is larger than etcd takes: 1.5 MiB, and 128 operations in a transaction."""

    reason = "request_too_large"


class Overloaded(Refused):
    """The etcd member has too many requests to carry out; nothing was done, and the same may be asked again later."""

    reason = "overloaded"


class AccessDenied(Refused):
    """The user of this host has no role that allows it."""

    reason = "access_denied"


class NotAuthenticated(Refused):
    """etcd does not know this user, its password or its token."""

    reason = "not_authenticated"


class WatchCanceled(EtcdError):
    """etcd ended a watch, for the reason in `detail`."""

    reason = "watch_canceled"
    detail: str = ""


class ClusterChanged(EtcdError):
    """A member answered for another cluster (`found`) than before (`known`)."""

    reason = "cluster_changed"
    known: int = 0
    found: int = 0


class RevisionWentBack(EtcdError):
    """The cluster is at revision `found`, and `known` was seen before: it was restored from an older copy."""

    reason = "revision_went_back"
    known: int = 0
    found: int = 0


DENIED = "etcdserver: permission denied"
TOKEN_EXPIRED = "etcdserver: invalid auth token"
# Users or roles were changed since the token was signed (--auth-token=jwt). etcd 3.5.1 has the first words.
TOKEN_OLD = ("auth: revision in header is old", "etcdserver: revision of auth store is old")
# etcd's errors differ by their texts alone (api/v3rpc/rpctypes/error.go, and the same in its own client).
_BY_DETAIL: dict[str, type[Refused]] = {
    "etcdserver: requested lease not found": LeaseNotFound,
    "etcdserver: lease already exists": LeaseExists,
    "etcdserver: mvcc: required revision has been compacted": Compacted,
    "etcdserver: mvcc: required revision is a future revision": FutureRevision,
    "etcdserver: mvcc: database space exceeded": NoSpace,
    "etcdserver: request is too large": RequestTooLarge,
    "etcdserver: too many operations in txn request": RequestTooLarge,
    "etcdserver: too many requests": Overloaded,
    DENIED: AccessDenied,
    TOKEN_EXPIRED: NotAuthenticated,
    "etcdserver: authentication failed, invalid user ID or password": NotAuthenticated,
    "etcdserver: user name is empty": NotAuthenticated,
    "auth: authentication failed, password was given for no password user": NotAuthenticated,
    **dict.fromkeys(TOKEN_OLD, NotAuthenticated),
}
_BY_STATUS: dict[grpc.StatusCode, type[Refused]] = {
    grpc.StatusCode.INVALID_ARGUMENT: Refused,
    grpc.StatusCode.NOT_FOUND: Refused,
    grpc.StatusCode.ALREADY_EXISTS: Refused,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.OUT_OF_RANGE: Refused,
    grpc.StatusCode.UNIMPLEMENTED: Refused,
    grpc.StatusCode.DATA_LOSS: Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RequestTooLarge,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
}
# The server says this before it proposes anything to the other members.
_NOTHING_DONE = {
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
}


# What a call or a stream of grpc.aio raises: an answer of the server or of gRPC, or that the call or channel is over.
GRPC_ERRORS = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)


def translate(error: BaseException, doing: str, member: str, *, writes: bool) -> EtcdError:
    """The error of a call that was sent to a connected member. `doing` is what it was to do, in words."""
    status, detail = grpc.StatusCode.UNKNOWN, str(error)
    if isinstance(error, grpc.aio.AioRpcError):
        status, detail = error.code(), error.details() or "no reason given"
    elif isinstance(error, asyncio.CancelledError):
        status, detail = grpc.StatusCode.CANCELLED, "the connection was closed"
    return by_status(status, detail, doing, member, writes=writes)


def by_status(status: grpc.StatusCode, detail: str, doing: str, member: str, *, writes: bool) -> EtcdError:
    """The error for a status that is not OK."""
    kind = _BY_DETAIL.get(detail) or _BY_STATUS.get(status)
    if kind is not None:
        return kind(f"etcd at {member} refused to {doing}: {detail}", member=member, status=status.name, detail=detail)
    if not writes or detail in _NOTHING_DONE:
        return unavailable(doing, member, detail, status.name)
    return OutcomeUnknown(
        f"no answer from etcd at {member} to the request to {doing} ({status.name}: {detail}): it may have been "
        "carried out, or may be later; read what is there",
        member=member,
        status=status.name,
        detail=detail,
    )


def unavailable(doing: str, member: str, detail: str, status: str = grpc.StatusCode.UNAVAILABLE.name) -> Unavailable:
    """The error for what was not done because no member of etcd could be asked."""
    return Unavailable(
        f"could not {doing}: etcd at {member}: {detail}; nothing was changed; check that a majority of the etcd "
        "members runs and can be reached",
        member=member,
        status=status,
        detail=detail,
    )


def raise_own_cancellation(error: asyncio.CancelledError) -> None:
    """Raise it again if this task is being cancelled.

    grpc.aio also raises one where the channel was closed under a call.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
