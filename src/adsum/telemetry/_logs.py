"""Events as log records."""

from __future__ import annotations

import logging

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
