"""Which versions of etcd are good enough, and what is said about the others."""

from __future__ import annotations

import pytest

from adsum._etcd.versions import ADVISED, FAULTS, MINIMUM, is_reliable, judge, parse, reaches
from tests.support.etcd import program, version


@pytest.mark.parametrize(
    ("text", "level", "reasons"),
    [
        ("3.4.23", "below_minimum", 6),
        ("3.5.1", "below_minimum", 7),
        ("3.5.17", "below_minimum", 4),
        ("3.5.22", "below_minimum", 2),
        ("3.5.23", "advice", 1),
        ("3.5.30", "advice", 1),
        ("3.5.33", "ok", 0),
        ("3.6.0-rc.1", "below_minimum", 3),
        ("3.6.4", "below_minimum", 2),
        ("3.6.5", "advice", 1),
        ("3.6.14", "ok", 0),
        ("3.7.0", "advice", 1),
        ("3.7.1", "ok", 0),
        ("3.8.0", "ok", 0),
        ("4.0.0", "ok", 0),
        ("2.3.8", "below_minimum", 7),
        ("unknown", "below_minimum", 1),
    ],
)
def test_a_version_is_judged_with_reasons(text: str, level: str, reasons: int) -> None:
    """A version below the floor, or the advised one, is named with each fault that it has."""
    verdict = judge(text)
    assert (verdict.version, verdict.level, len(verdict.reasons)) == (text, level, reasons)
    assert is_reliable(text) == (level != "below_minimum")


def test_the_floor_excludes_faults_of_data_and_the_advice_all() -> None:
    """At the floor only the fault that concerns roles is left, and at the advised versions none."""
    for wanted, left in ((MINIMUM, 1), (ADVISED, 0)):
        for one in wanted:
            assert sum(not reaches(one, fault.mended) for fault in FAULTS) == left


def test_the_etcd_of_this_run_is_known() -> None:
    """The version of the etcd that runs these tests can be judged."""
    assert parse(version(program()))
