"""What happens between a commit and the next batch, when a step of it fails."""

from __future__ import annotations

import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call
from adsum._registrar.replies import OutgoingReply
from adsum._validation import MetadataFields
from adsum.errors import SystemBusy
from adsum.model import Limits, ProcessId

from .world import World


def _registration(world: World) -> Call:
    owner = world.processes.start(7)
    request = wire.Register(owner=owner, items=[(ProcessId("n", "host", "a"), MetadataFields())])
    return Call(b"session", 1, world.clock.nanoseconds + 10**9, request, owner)


def test_the_number_of_entries_is_on_the_page_before_the_reply() -> None:
    """A registry whose registrar is killed right after the reply to its first registration is known to live, and so has
    priority over an empty one."""
    world = World(Limits())
    numbers: list[int] = []
    world.core.committer.commit(Batch(calls=[_registration(world)]), lambda _: numbers.append(world.page.entries))
    assert numbers == [1]
    world.close()


def test_no_call_that_was_carried_out_is_refused() -> None:
    """Where a step after the commit fails, the registrar ends, whatever the error is: a second answer, that nothing was
    changed, would be false."""
    world = World(Limits())
    replies: list[OutgoingReply] = []

    def reply(answers: list[OutgoingReply]) -> None:
        replies.extend(answers)
        raise SystemBusy("no descriptor is left")

    with pytest.raises(RuntimeError, match="a batch was committed, and then: no descriptor is left"):
        world.core.committer.commit(Batch(calls=[_registration(world)]), reply)
    assert len(replies) == len(world.tables().entries) == 1
    world.close()
