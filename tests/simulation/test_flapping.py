"""A week in which the other hosts of a cluster come and go. A failure names the seed that brings it back."""

from __future__ import annotations

from random import SystemRandom

import pytest

from .flapping import Week


def _play(losses: int) -> Week:
    """A week in which so many leases are lost."""
    seed = SystemRandom().randrange(2**32)
    print(f"Week({seed}, {losses}).run()")
    week = Week(seed, losses)
    try:
        week.run()
    finally:
        week.close()
    print(f"{week.lost} leases lost, {week.requests} requests, {week.crashes} crashes, {week.shown.revision} changes")
    return week


@pytest.mark.timeout(300)
def test_a_week_of_flapping_hosts_shows_what_happened_and_leaves_nothing_behind() -> None:
    """Members of hosts that can be reached, and no others unless they are asked for; one event for a host and change;
    nothing that is about this host is pushed out, and nothing grows."""
    week = _play(3_000)
    assert week.lost > 2_500
    assert week.checks.slow_watch.lags > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_lost_leases_leave_nothing_behind() -> None:
    """As above, with a lease that is lost every six seconds."""
    _play(100_000)
