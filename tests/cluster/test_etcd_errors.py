"""Each answer of gRPC has its meaning, in one place."""

from __future__ import annotations

import pickle

import grpc
import pytest

from adsum._etcd import errors
from adsum._etcd.errors import EtcdError, OutcomeUnknown, Refused, Unavailable, by_status

S = grpc.StatusCode


def all_errors() -> list[type[EtcdError]]:
    found: list[type[EtcdError]] = [EtcdError]
    for kind in found:
        found += kind.__subclasses__()
    return found


@pytest.mark.parametrize(
    ("status", "detail", "of_a_write", "of_a_read"),
    [
        (S.NOT_FOUND, "etcdserver: requested lease not found", errors.LeaseNotFound, errors.LeaseNotFound),
        (S.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", errors.NoSpace, errors.NoSpace),
        (S.RESOURCE_EXHAUSTED, "etcdserver: too many requests", errors.Overloaded, errors.Overloaded),
        (
            S.RESOURCE_EXHAUSTED,
            "grpc: received message larger than max",
            errors.RequestTooLarge,
            errors.RequestTooLarge,
        ),
        (S.PERMISSION_DENIED, "etcdserver: permission denied", errors.AccessDenied, errors.AccessDenied),
        (S.UNAUTHENTICATED, "etcdserver: invalid auth token", errors.NotAuthenticated, errors.NotAuthenticated),
        (
            S.UNKNOWN,
            "auth: authentication failed, password was given for no password user",
            errors.NotAuthenticated,
            errors.NotAuthenticated,
        ),
        (S.UNKNOWN, "auth: revision in header is old", errors.NotAuthenticated, errors.NotAuthenticated),
        (
            S.INVALID_ARGUMENT,
            "etcdserver: revision of auth store is old",
            errors.NotAuthenticated,
            errors.NotAuthenticated,
        ),
        (S.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Refused, Refused),
        (S.FAILED_PRECONDITION, "anything", Refused, Refused),
        (S.UNAVAILABLE, "etcdserver: no leader", Unavailable, Unavailable),
        (S.UNAVAILABLE, "etcdserver: request timed out", OutcomeUnknown, Unavailable),
        (S.UNAVAILABLE, "etcdserver: server stopped", OutcomeUnknown, Unavailable),
        (S.UNAVAILABLE, "Socket closed", OutcomeUnknown, Unavailable),
        (S.DEADLINE_EXCEEDED, "Deadline Exceeded", OutcomeUnknown, Unavailable),
        (S.CANCELLED, "anything", OutcomeUnknown, Unavailable),
        (S.INTERNAL, "anything", OutcomeUnknown, Unavailable),
        (S.UNKNOWN, "raft proposal dropped", OutcomeUnknown, Unavailable),
    ],
)
def test_a_status_has_one_meaning(
    status: grpc.StatusCode, detail: str, of_a_write: type[EtcdError], of_a_read: type[EtcdError]
) -> None:
    """etcd's own refusals are certain; whatever else happens to a write leaves its outcome unknown."""
    for kind, writes in ((of_a_write, True), (of_a_read, False)):
        error = by_status(status, detail, "put b'a'", "host:1", writes=writes)
        assert type(error) is kind
        assert "put b'a'" in str(error)
        assert "host:1" in str(error)
        assert detail in str(error)
        assert (vars(error)["member"], vars(error)["status"], vars(error)["detail"]) == ("host:1", status.name, detail)


@pytest.mark.parametrize("status", [status for status in S if status is not S.OK])
def test_every_status_is_translated(status: grpc.StatusCode) -> None:
    """No status of gRPC is left untranslated, and none makes a write look done."""
    assert isinstance(by_status(status, "x", "put", "m", writes=True), Refused | OutcomeUnknown)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: str(kind.__name__))
def test_every_error_pickles(kind: type[EtcdError]) -> None:
    """Class, message and fields survive pickling; each class has a reason of its own and explains itself."""
    error = kind("what happened; what to do", member="m", known=1)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, "what happened; what to do", {"member": "m", "known": 1})
    assert [other.reason for other in all_errors()].count(kind.reason) == 1
    assert kind.__doc__
