"""``adsum top``: shows the whole registry on one screen, live."""

from __future__ import annotations

import os
import time

from ...views.mirror import Mirror, Scope
from .. import NOT_FOUND
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render
from .choices import UserChoices
from .summary import document, print_once
from .view import TopView

# The least time between two frames while changes come, and the most while none come, because ages grow. On a slow line,
# or with a large registry, the pause is longer, so that drawing takes at most a quarter of the time.
FRAME_SECONDS = 0.25
IDLE_SECONDS = 1.0
# The least time between two frames after a key.
KEY_SECONDS = 0.04
SIGNALLED = 128


def top(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Show the whole registry on one screen, live.

    ```console
    $ adsum top
    ```

    Shows the figures of the registry and its registrar, the changes per second, the members by namespace, type and
    health, and the latest departures; those of all namespaces, or of the one that --namespace names. Keys: q quit,
    s sort by the next column, r reverse the order, / filter (type, then Enter; Esc clears), arrows or j and k scroll.

    It reads shared memory and sends no request. So it starts no registrar, and works while one is stopped or stuck. In
    a pipe, or with --json, it prints the present state once and ends, with exit code 1 where there is no registry.
    """
    with options.open() as registry:
        mirror = Mirror(registry, Scope(options.namespace, options.node))
        if not json and render.is_terminal() and os.environ.get("TERM") != "dumb":
            return _live(mirror, options)
        exists = check_registry(registry, options)
        if json:
            render.print_json(document(mirror))
        elif exists:
            print_once(mirror, options)
    return 0 if exists else NOT_FOUND


def _live(mirror: Mirror, options: RegistryOptions) -> int:
    from .screen import Screen

    choices = UserChoices()
    view = TopView(mirror, choices, options)
    with Screen() as screen:
        size, drawn, follow_at, frame_at, pause = (0, 0), 0.0, 0.0, 0.0, FRAME_SECONDS
        while True:
            keys = screen.wait(min(follow_at, frame_at) - time.monotonic())
            if (number := screen.ended_by()) is not None:
                return SIGNALLED + number
            if not all(choices.press(key, view.page) for key in keys):
                return 0
            now = time.monotonic()
            if now >= follow_at:
                frame_at = now if mirror.follow() else frame_at
                follow_at = now + pause
            if keys or screen.size != size:
                frame_at = min(frame_at, drawn + KEY_SECONDS)
            if now >= frame_at:
                size = screen.size
                screen.draw(view.frame(*size))
                drawn = time.monotonic()
                pause = max(FRAME_SECONDS, 4 * (drawn - now))
                frame_at = drawn + max(IDLE_SECONDS, pause)
