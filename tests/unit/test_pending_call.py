"""The states of a call in the pipeline, and what cancelling takes in each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, cast

import pytest

from adsum import AlreadyRegistered, Entry, Metadata, ProcessId, RegistryClosed
from adsum import _wire as wire
from adsum._calls import whole
from adsum._client.connection import GRACE_SECONDS
from adsum._client.dial import START_SECONDS
from adsum._client.pending_call import PendingCall
from adsum._client.pipeline import Pipeline
from adsum._client.stand_by_call import StandByCall
from adsum._os import identity
from adsum._store.local_members import LocalMembers
from adsum._validation import MetadataFields
from adsum.model import EPOCH

ID = ProcessId("default", "here", "lead")
BOUND = 0.05


class Recorder:
    """A pipeline that sends nothing and remembers what it was asked to do."""

    def __init__(self) -> None:
        self.submitted: list[wire.AnyRequest] = []
        self.cancelled: list[int] = []
        self.forgotten: list[int] = []
        self.answer: Callable[[wire.Done], None] | None = None

    def submit(self, call: PendingCall[Any]) -> None:
        self.submitted.append(call.request)

    submit_unattended = submit

    def cancel(self, number: int, answered: Callable[[wire.Done], None]) -> None:
        self.cancelled.append(number)
        self.answer = answered

    def forget(self, number: int) -> None:
        self.forgotten.append(number)


def plain(seconds: float | None = None) -> PendingCall[wire.Done]:
    call = PendingCall(wire.Unregister(process_id=ID), whole, seconds)
    call.number = 7
    return call


@pytest.fixture
def pipeline() -> Recorder:
    return Recorder()


@pytest.fixture
def standby(pipeline: Recorder) -> StandByCall[wire.Done]:
    request = wire.StandBy(process_id=ID, owner=identity.current(), fields=MetadataFields())
    call = StandByCall(request, whole, None, None, cast(Pipeline, pipeline), LocalMembers())
    call.number = 7
    return call


def granted() -> wire.Done:
    owner = identity.current()
    return wire.Done(7, [Entry(ID, *owner, 3, EPOCH, EPOCH, 3, Metadata())])


# A plain call


def test_a_new_call_can_be_cancelled() -> None:
    """Its request is never sent, and an outcome that comes all the same changes nothing."""
    call = plain()
    assert call.future.cancel()
    assert not call.claim()
    call.settle(RegistryClosed("closed"))
    with pytest.raises(CancelledError):
        call.future.result(0)


def test_a_sent_call_cannot_be_cancelled() -> None:
    """A registrar may apply the request at any moment, so the call waits for its reply."""
    call = plain()
    assert call.claim()
    assert not call.future.cancel()
    call.settle(wire.Done(7, []))
    assert call.future.result(0) == wire.Done(7, [])


def test_a_sent_call_is_sent_again() -> None:
    """A registrar that died without a reply leaves it to the next one."""
    call = plain()
    assert [call.claim(), call.claim()] == [True, True]


def test_a_calls_own_timeout_begins_when_it_is_made() -> None:
    """Its deadline is the same for every registrar it is sent to."""
    before = time.monotonic()
    call = plain(2.0)
    assert before + 2 <= call.begin(before + 1, BOUND) == call.begin(before + 1.5, BOUND) <= time.monotonic() + 2


def test_the_registrys_bound_begins_when_a_registrar_serves() -> None:
    """Until then the call waits for one to start."""
    before = time.monotonic()
    call = plain()
    assert call.give_up is not None
    assert before + START_SECONDS <= call.give_up
    assert call.begin(before + 3, BOUND) == before + 3 + BOUND
    assert call.give_up == before + 3 + BOUND + GRACE_SECONDS
    assert (call.is_late(before + 3 + BOUND), call.is_late(call.give_up)) == (False, True)


def test_an_error_of_the_conversion_is_the_calls_result() -> None:
    """The thread of the pipeline goes on."""

    def fails(_done: wire.Done) -> None:
        raise LookupError

    call = PendingCall(wire.Unregister(process_id=ID), fails, None)
    call.settle(wire.Done(1, []))
    assert isinstance(call.future.exception(0), LookupError)


def test_a_forked_childs_call_ends() -> None:
    """The reply goes to the parent; whatever another thread held, the child's caller gets an error."""
    call = plain()
    call.claim()
    call.future._condition.acquire()
    call.abandon()
    assert isinstance(call.future.exception(0), RegistryClosed)


# Standing by


def test_a_queued_call_has_no_deadline(standby: StandByCall[wire.Done]) -> None:
    """The registrar will reply later; the caller knows that it is queued."""
    assert standby.claim()
    assert not standby.queued.done()
    standby.queue(1)
    assert standby.queued.result(0) is None
    assert (standby.is_queued, standby.give_up, standby.is_late(time.monotonic() + 1e6)) == (True, None, False)
    assert standby.begin(100.0, BOUND) == 100.0 + START_SECONDS


@pytest.mark.parametrize("outcome", [granted(), AlreadyRegistered("held", entry=granted().entries[0])])
def test_an_immediate_reply_ends_the_queueing_too(standby: StandByCall[wire.Done], outcome: Any) -> None:
    """A caller that waits for its standby to be queued is never left waiting."""
    standby.claim()
    standby.settle(outcome)
    assert standby.queued.done()
    assert standby.future.done()


def test_a_standby_that_was_not_sent_is_cancelled_here(standby: StandByCall[wire.Done], pipeline: Recorder) -> None:
    """The registrar has nothing to remove."""
    assert standby.future.cancel()
    assert not standby.claim()
    assert pipeline.cancelled == []


@pytest.mark.parametrize("queued", [False, True])
def test_a_standby_that_was_sent_is_cancelled_at_the_registrar(
    standby: StandByCall[wire.Done], pipeline: Recorder, queued: bool
) -> None:
    """It stays in the pipeline, and is sent again if the registrar dies, until the cancellation is answered."""
    standby.claim()
    if queued:
        standby.queue(1)
    assert standby.future.cancel()
    assert pipeline.cancelled == [7]
    assert standby.claim()
    assert pipeline.forgotten == []
    assert pipeline.answer is not None
    pipeline.answer(wire.Done(8, [], changed=True))
    assert pipeline.forgotten == [7]


def test_a_cancellation_while_it_is_being_sent_reaches_the_registrar(
    standby: StandByCall[wire.Done], pipeline: Recorder
) -> None:
    """Whichever comes first, a standby that is sent and cancelled is cancelled at the registrar as well."""
    future, looks = standby.future, 0
    look = Future.cancelled

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        seen = look(future)
        if looks == 1:
            # The caller cancels just after the pipeline has looked.
            future.cancel()
        return seen

    vars(future)["cancelled"] = cancelled
    assert standby.claim()
    assert pipeline.cancelled == [7]


def test_a_grant_that_meets_a_cancellation_is_undone(standby: StandByCall[wire.Done], pipeline: Recorder) -> None:
    """No caller holds the registration, so the id is unregistered again, by its incarnation."""
    standby.claim()
    standby.future.cancel()
    standby.settle(granted())
    assert pipeline.submitted == [wire.Unregister(process_id=ID, if_incarnation=3)]
