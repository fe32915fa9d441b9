"""Access to the internals that a few tests check, in one place."""

from __future__ import annotations

from typing import cast

from adsum import Registry
from adsum._os.liveness import LivenessCheck


def let_go(registry: Registry) -> None:
    """From now on, `registry` registers no member anew when its folder is gone."""
    registry._client.keeper.close()


def liveness_of(registry: Registry) -> LivenessCheck:
    """The liveness check of a registry's reader."""
    return cast(LivenessCheck, registry._reader._liveness)
