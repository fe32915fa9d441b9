"""How a batch is split for which there is no room."""

from msgspec.structs import replace

from .. import _wire as wire
from .._amendment import NOTHING
from .._engine.batch import Batch, Call
from .._engine.health import HEALTH_FIELDS


def without_room(batch: Batch) -> tuple[Batch, list[Call]]:
    """What can be carried out where no page is free, and the requests that need room."""
    rest = [call for call in batch.calls if not needs_room(call.request)]
    return replace(batch, calls=rest), [call for call in batch.calls if needs_room(call.request)]


def needs_room(request: wire.AnyRequest) -> bool:
    """Whether what it writes takes more room than it frees."""
    match request:
        case wire.Unregister() | wire.UnregisterMany() | wire.Heartbeat() | wire.Cancel():
            return False
        case wire.ExitOf() | wire.Release() | wire.Retoken():
            return False
        case wire.ApplyRemote():
            return any(change.entry is not None for change in request.changes)
        case wire.UpdateMany():
            return not all(HEALTH_FIELDS.issuperset(fields.given()) for _, fields in request.items)
        case wire.Update():
            return not HEALTH_FIELDS.issuperset(request.fields.given())
        case wire.Amend():
            only_fields = request.merged == NOTHING and not request.added
            return not (only_fields and HEALTH_FIELDS.issuperset(request.fields.given()))
        case _:
            return True
