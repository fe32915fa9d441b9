"""``adsum top``: the whole registry on one screen, live."""

from __future__ import annotations

import os
import time

from ...views.mirror import Mirror, Scope
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render
from .browsing import Browsing
from .view import View, document, print_plain

# Between two frames of changes at least so long, and while nothing changes at most: ages grow. A slow line or a large
# registry gets fewer, so that drawing takes at most a quarter of the time.
FRAME_SECONDS = 0.25
STILL_SECONDS = 1.0
# A key is answered sooner.
KEY_SECONDS = 0.04
SIGNALLED = 128


def top(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Watch the whole registry on one screen, live.

    ```console
    $ adsum top
    ```

    Numbers of the registry and its registrar, changes in a second, members by namespace, type and health, the latest
    departures; of every namespace, unless --namespace names one. Keys: q quit, s sort by another column, r reverse,
    / filter (type, Enter; Esc clears), arrows or j and k scroll.

    It asks nobody, so it starts no registrar and shows what stands when one is stuck. In a pipe, or with --json, it
    says once what is, and ends.
    """
    with options.open() as registry:
        roll = Mirror(registry, Scope(options.namespace, options.node))
        if json:
            render.print_json(document(roll))
        elif render.is_terminal() and os.environ.get("TERM") != "dumb":
            return _live(roll, options)
        else:
            print_plain(roll, options)
    return 0


def _live(roll: Mirror, options: RegistryOptions) -> int:
    from .screen import Screen

    browsing = Browsing()
    view = View(roll, browsing, options)
    with Screen() as screen:
        size, drawn, look_at, frame_at, pause = (0, 0), 0.0, 0.0, 0.0, FRAME_SECONDS
        while True:
            keys = screen.wait(min(look_at, frame_at) - time.monotonic())
            if (number := screen.ended_by()) is not None:
                return SIGNALLED + number
            if not all(browsing.press(key, view.page) for key in keys):
                return 0
            now = time.monotonic()
            if now >= look_at:
                frame_at = now if roll.follow() else frame_at
                look_at = now + pause
            if keys or screen.size != size:
                frame_at = min(frame_at, drawn + KEY_SECONDS)
            if now >= frame_at:
                size = screen.size
                screen.draw(view.frame(*size))
                drawn = time.monotonic()
                pause = max(FRAME_SECONDS, 4 * (drawn - now))
                frame_at = drawn + max(STILL_SECONDS, pause)
