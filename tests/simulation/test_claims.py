"""Claims under histories of deaths and crashes. A failure names the seed that brings it back."""

from __future__ import annotations

from random import SystemRandom

import pytest

from .claim_history import ClaimHistory


@pytest.mark.parametrize("seed", [*range(6), None])
def test_claims_keep_their_rules(seed: int | None) -> None:
    """In every history no member has more claims than slots, no claim is lost or left behind, none waits while a slot
    is free, and equal claims are granted in their order."""
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    print(f"ClaimHistory({seed}).run(300)")
    history = ClaimHistory(seed)
    history.run(300)
    assert history.grants > 10
    assert history.crashes > 3
