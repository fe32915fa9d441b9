"""What to do next, in a shell: the library advises calls, and whoever stands at a prompt types commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from .. import Registry
from ..errors import AlreadyRegistered, NotRegistered
from ..model import ProcessId
from .options import RegistryOptions
from .output import render


@contextmanager
def in_shell_words(process_id: ProcessId, options: RegistryOptions, registry: Registry) -> Iterator[None]:
    """What the registry refuses for `process_id` in here is refused with advice for a shell."""
    # As it has to be typed for the same registry once more.
    typed_options = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in asdict(options).items() if value)
    typed = shlex.quote(render.printable(options.show_id(process_id, registry))) + typed_options
    try:
        yield
    except AlreadyRegistered as error:
        raise AlreadyRegistered(
            f"{process_id} is held by process {error.entry.pid}; use another id, or wait until that process ends: "
            f"adsum show {typed} tells what it is, adsum watch {typed} when it ends",
            entry=error.entry,
        ) from error
    except NotRegistered as error:
        raise NotRegistered(
            f"{process_id} is not registered (or its process has died); adsum ls{typed_options} lists who is, "
            f"adsum run {typed} -- COMMAND registers a program"
        ) from error
