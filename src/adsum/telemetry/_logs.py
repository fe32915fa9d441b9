"""Events as log records, and members in the log records of their programs."""

from __future__ import annotations

import logging
import os
from typing import Protocol

from ..model import Entry
from ._dispatch import FIND, LOOKUP, REJECTED, TIMEOUT, Attributes, Measurements, logger

_LEVELS = {LOOKUP: logging.DEBUG, FIND: logging.DEBUG, REJECTED: logging.WARNING, TIMEOUT: logging.WARNING}


def log(event: str, measurements: Measurements, attributes: Attributes) -> None:
    """A handler that makes each event a record of the logger ``adsum.telemetry``.

    Reads have the level DEBUG, failed calls WARNING, all other events INFO. The event, the measurements and the
    attributes are fields of the record, as with ``extra=``, where a formatter that writes JSON finds them.

    >>> adsum.telemetry.attach(adsum.telemetry.log, ["adsum.register", "adsum.rejected"])
    >>> adsum.telemetry.detach(adsum.telemetry.log)
    """
    level = _LEVELS.get(event, logging.INFO)
    if logger.isEnabledFor(level):
        words = [f"{name}={value}" for name, value in attributes.items()]
        numbers = [f"{name}={value:g}" for name, value in measurements.items()]
        logger.log(
            level, "%s", " ".join([event, *words, *numbers]), extra={"event": event, **measurements, **attributes}
        )


class HasEntry(Protocol):
    """What has an entry that changes: a `Registration` or an `AsyncRegistration`."""

    entry: Entry


class MemberFilter(logging.Filter):
    r"""A filter that lets all records pass, and adds the member that this process is to them: `member_id`, as
    `Entry.id`, and `incarnation`. Add it to a handler, so that the records of all loggers get it.

    It asks the registration at each record, which costs no call: after a loss of the registry's folder the records have
    the new incarnation. In a forked child, which is another process and no member, they have ``""`` and 0.

    >>> import io, logging
    >>> registration = registry.register("planner-1")
    >>> handler = logging.StreamHandler(io.StringIO())
    >>> handler.addFilter(adsum.telemetry.MemberFilter(registration))
    >>> handler.setFormatter(logging.Formatter("%(member_id)s#%(incarnation)d %(message)s"))
    >>> log = logging.getLogger("example")
    >>> log.addHandler(handler)
    >>> log.warning("it is late")
    >>> log.removeHandler(handler)
    >>> handler.stream.getvalue()
    'default/here/planner-1#1 it is late\n'
    """

    def __init__(self, registration: HasEntry) -> None:
        super().__init__()
        self._registration = registration
        self._pid = os.getpid()

    def filter(self, record: logging.LogRecord) -> bool:
        """Add `member_id` and `incarnation` to the record; True.

        >>> import logging
        >>> record = logging.makeLogRecord({})
        >>> adsum.telemetry.MemberFilter(registry.register("planner-1")).filter(record), record.member_id
        (True, 'default/here/planner-1')
        """
        entry = self._registration.entry if os.getpid() == self._pid else None
        record.member_id = "" if entry is None else entry.id
        record.incarnation = 0 if entry is None else entry.incarnation
        return True
