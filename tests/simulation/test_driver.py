"""The registry under histories that go on for long. A failure names the seed that brings it back."""

from __future__ import annotations

from random import SystemRandom

import pytest

from .driver import Driver


def _run(deaths_and_crashes: int, *, check_every: int, seed: int | None = None) -> None:
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    print(f"Driver({seed}, check_every={check_every}).run({deaths_and_crashes})")
    driver = Driver(seed, check_every=check_every)
    driver.run(deaths_and_crashes)
    print(f"{driver.deaths} deaths, {driver.crashes} crashes, {driver.play.commits} commits, {dict(driver.play.seen)}")


@pytest.mark.parametrize("seed", [1, None])
def test_the_registry_stands_a_thousand_deaths_and_crashes(seed: int | None) -> None:
    """Every reply and every state of a long history are as the model has them."""
    _run(1_000, check_every=5, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_registry_stands_a_hundred_thousand_deaths_and_crashes() -> None:
    """As above, until the ring of departures has gone round many times over."""
    _run(100_000, check_every=50)
