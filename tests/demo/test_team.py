"""Who is in the team."""

from __future__ import annotations

import pytest

from adsum_demo.job import STAGES
from adsum_demo.team import agents


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8, 13])
def test_a_team_of_any_size_can_do_everything(number: int) -> None:
    """So many agents with different names have every ability among them."""
    team = agents(number)
    assert len({agent.name for agent in team}) == number
    assert {ability for agent in team for ability in agent.abilities} == set(STAGES)


def test_eight_agents_are_two_of_each() -> None:
    """In the usual team every ability is there twice, so the death of one agent stops no stage."""
    assert sorted(ability for agent in agents(8) for ability in agent.abilities) == sorted(STAGES * 2)
