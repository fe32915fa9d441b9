"""A client's proof that its session continues: a lock on a file of the session (see `_os.session`)."""

from __future__ import annotations

import os
from pathlib import Path

from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os import session
from .._os.descriptors import Descriptor, note
from .._os.liveness import descriptors_needed
from ..errors import AdsumError, SystemBusy


class SessionLock:
    """A new session with the random name `token`, in one folder. It begins with `hold`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.token = os.urandom(16)
        self._held: Descriptor | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the program closed the descriptor, or another file has its number."""
        held = self._held
        return held is not None and not held.is_ours()

    def hold(self) -> None:
        """Hold the lock, on the file that is in the folder now: the folder may have gone, and the file with it.

        Errors: `PermissionDenied`; `SystemBusy` where a descriptor or memory is missing.
        """
        if self._held is not None and session.is_shown_by(self._held.number, self._folder, self.token):
            return
        self.release()
        try:
            with descriptors_needed():
                folders.create(self._folder)
                self._held = note(session.hold(self._folder, self.token))
        except AdsumError:
            raise
        except OSError as error:
            reraise_foreign(error)
            raise SystemBusy(f"no session can begin in {self._folder} ({error}); nothing was changed") from error

    def release(self) -> None:
        """End the session. Forgotten first, so that no other thread closes a number that is reused."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
