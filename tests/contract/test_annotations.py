"""Programs that read annotations as they run (command lines, serialisers, dependency injection) can read ours."""

from __future__ import annotations

import inspect
import typing

import pytest

import adsum

CLASSES = (adsum.Registry, adsum.AsyncRegistry, adsum.Registration, adsum.AsyncRegistration, adsum.Claim, adsum.Watch)


@pytest.mark.parametrize("kind", CLASSES)
def test_annotations_of_every_method_have_values(kind: type) -> None:
    """`typing.get_type_hints` resolves each method, aliases beside ``| None`` included."""
    for _, method in inspect.getmembers(kind, inspect.isfunction):
        assert typing.get_type_hints(method).keys() == inspect.get_annotations(method).keys()
