"""Advice in errors, as shell commands: the library's own messages advise Python calls."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from .. import Registry
from ..errors import AlreadyRegistered, NotRegistered
from ..model import ProcessId
from .absence import hint
from .notes import typed_options
from .options import RegistryOptions
from .output import render


@contextmanager
def shell_advice(process_id: ProcessId, options: RegistryOptions, registry: Registry) -> Iterator[None]:
    """Inside this context, errors about `process_id` advise shell commands."""
    given = typed_options(options)
    typed = shlex.quote(render.printable(options.show_id(process_id, registry))) + given
    try:
        yield
    except AlreadyRegistered as error:
        if error.entry.process_id != process_id or error.entry.host:
            # A name in the whole cluster: its holder is another id, or another host's.
            raise
        raise AlreadyRegistered(
            f"{process_id} is held by process {error.entry.pid}; use another id, or wait until that process ends: "
            f"adsum show {typed} shows its entry, adsum watch {typed} reports its end",
            entry=error.entry,
        ) from error
    except NotRegistered as error:
        raise NotRegistered(
            f"{process_id} is not registered (or its process has died); adsum ls{given} lists the members, "
            f"adsum run {typed} -- COMMAND registers a program" + hint(process_id, registry, options)
        ) from error
