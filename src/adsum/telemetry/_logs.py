"""Events as records of `logging`."""

from __future__ import annotations

import logging

from ._dispatch import FIND, LOOKUP, REJECTED, TIMEOUT, Attributes, Measurements, logger

_LEVELS = {LOOKUP: logging.DEBUG, FIND: logging.DEBUG, REJECTED: logging.WARNING, TIMEOUT: logging.WARNING}


def log(event: str, measurements: Measurements, attributes: Attributes) -> None:
    """A handler that makes each event a record of the logger ``adsum.telemetry``: ``attach(adsum.telemetry.log)``.

    Reads are DEBUG, what failed is WARNING, all else INFO. The measurements and attributes are fields of the record, as
    with ``extra=``, and so is `event`; a formatter that writes JSON finds them there.
    """
    level = _LEVELS.get(event, logging.INFO)
    if logger.isEnabledFor(level):
        words = [f"{name}={value}" for name, value in attributes.items()]
        numbers = [f"{name}={value:g}" for name, value in measurements.items()]
        logger.log(
            level, "%s", " ".join([event, *words, *numbers]), extra={"event": event, **measurements, **attributes}
        )
