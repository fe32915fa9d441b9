"""Access to the internals that a few tests check, in one place."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import cast

from adsum import Registry
from adsum._os.liveness import LivenessCheck
from adsum.model import Owner

from .waiting import eventually


def let_go(registry: Registry) -> None:
    """From now on, `registry` registers no member anew when its folder is gone."""
    registry._client.keeper.close()


def settle(registry: Registry) -> None:
    """Wait until the thread that waits for the loss of the folder has opened what it waits for, and closed what it
    looked at, if there is one."""
    keeper = registry._client.keeper
    eventually(lambda: keeper._thread is None or (keeper._registrar is not None and _is_in(keeper._thread, "_wait")))


def _is_in(thread: threading.Thread, function: str) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def liveness_of(registry: Registry) -> LivenessCheck:
    """The liveness check of a registry's reader."""
    return cast(LivenessCheck, registry._reader._liveness)


def lifelines_of(registry: Registry) -> memoryview:
    """The lifelines in the page that the registry's reader has open."""
    registry._reader.attach()
    page = registry._reader.open_page
    assert page is not None
    return page.lifelines


def count_questions(registry: Registry) -> list[Owner]:
    """From now on, the owners for which a reader of the registry asks the kernel."""
    asked: list[Owner] = []
    liveness = liveness_of(registry)
    is_alive, alive_among = liveness.is_alive, liveness.alive_among

    def one(owner: Owner) -> bool:
        asked.append(owner)
        return is_alive(owner)

    def many(owners: Iterable[Owner]) -> set[Owner]:
        wanted = set(owners)
        asked.extend(wanted)
        return alive_among(wanted)

    liveness.is_alive, liveness.alive_among = one, many  # type: ignore[method-assign]
    return asked


def queued_calls(registry: Registry) -> int:
    """How many calls of a registry the registrar has queued: standbys, and claims that wait."""
    return sum(call.is_queued for call in registry._client.pipeline._calls.all())
