"""The error classes by themselves."""

from __future__ import annotations

import pytest

from adsum.errors import BY_REASON, AdsumError, NotRegistered, Timeout


@pytest.mark.parametrize("kind", BY_REASON.values(), ids=lambda kind: kind.__name__)
def test_a_message_is_shown_as_it_was_written(kind: type[AdsumError]) -> None:
    """`str` is the message, also for those that are a `KeyError` or an `OSError`, which show theirs otherwise."""
    assert str(kind("what happened; what to do")) == "what happened; what to do"


@pytest.mark.parametrize("kind", BY_REASON.values(), ids=lambda kind: kind.__name__)
def test_every_error_is_explained(kind: type[AdsumError]) -> None:
    """Each class says when it is raised."""
    assert kind.__doc__
    assert "reason" in vars(kind)


def test_words_are_words() -> None:
    """A reason is one snake_case word, and no two errors share one."""
    assert all(word.isidentifier() and word == word.lower() for word in BY_REASON)
    assert len(set(BY_REASON.values())) == len(BY_REASON)


def test_fields_are_attributes() -> None:
    """What an error carries is read by name."""
    error = AdsumError("message", entry=5, other="x")
    assert vars(error) == {"entry": 5, "other": "x"}


def test_built_in_classes_catch_them() -> None:
    """Code that knows nothing of adsum catches what it expects."""
    with pytest.raises(KeyError):
        raise NotRegistered("a is not registered")
    with pytest.raises(TimeoutError):
        raise Timeout("no answer")
