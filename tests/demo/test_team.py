"""The members of the team."""

from __future__ import annotations

import pytest

from adsum_demo.job import STAGES
from adsum_demo.team import agents


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8, 13])
def test_a_team_of_any_size_has_every_capability(number: int) -> None:
    """So many agents with different names have every ability among them."""
    team = agents(number)
    assert len({agent.name for agent in team}) == number
    assert {capability for agent in team for capability in agent.capabilities} == set(STAGES)


def test_eight_agents_are_two_of_each() -> None:
    """In the usual team every ability is there twice, so the death of one agent stops no stage."""
    assert sorted(capability for agent in agents(8) for capability in agent.capabilities) == sorted(STAGES * 2)
