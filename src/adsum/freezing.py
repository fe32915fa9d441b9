"""`freeze_support`: a frozen program that can be its own registrar."""

from __future__ import annotations

import sys

from ._client import launch
from ._os.start_arguments import parse


def freeze_support() -> None:
    """Let a frozen program (PyInstaller, cx_Freeze and the like) start its own registrar.

    Call it first thing in the program, before anything that a second copy of the program should not do. A frozen
    program has no Python beside it, so adsum starts the program itself again, with arguments that only this call
    understands: there it serves as the registrar and exits when that ends. In any other process it returns at once.

    A program that does not call it can still use a registrar that runs, or one of a Python that has adsum: see
    ``registrar_command`` of `open`, and the environment variable ``ADSUM_PYTHON``.

    >>> adsum.freeze_support()
    """
    if parse(sys.argv) is not None:
        # Imported late: only a process that serves needs it.
        from ._registrar.background import main

        main()
        sys.exit()
    launch.allow_frozen()
