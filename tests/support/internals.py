"""Access to the internals that a few tests check, in one place."""

from __future__ import annotations

from typing import cast

from adsum import Registry
from adsum._os.liveness import LivenessCheck

from .waiting import eventually


def let_go(registry: Registry) -> None:
    """From now on, `registry` registers no member anew when its folder is gone."""
    registry._client.keeper.close()


def settle(registry: Registry) -> None:
    """Wait until the thread that waits for the loss of the folder has opened what it waits for, if there is one."""
    keeper = registry._client.keeper
    eventually(lambda: keeper._thread is None or keeper._registrar is not None)


def liveness_of(registry: Registry) -> LivenessCheck:
    """The liveness check of a registry's reader."""
    return cast(LivenessCheck, registry._reader._liveness)
