"""Ranges of numbers, for conditions on own data: `at_least`, `at_most`, `between`."""

import math

import msgspec

from .errors import InvalidQuery


class Range(msgspec.Struct, frozen=True):
    """Numbers from `low` to `high`, both included. Made by `at_least`, `at_most` and `between`.

    >>> adsum.between(1, 5)
    between(1, 5)
    >>> adsum.at_least(3).high
    inf
    """

    low: int | float
    high: int | float

    def __repr__(self) -> str:
        if self.high == math.inf:
            return f"at_least({self.low!r})"
        return f"at_most({self.high!r})" if self.low == -math.inf else f"between({self.low!r}, {self.high!r})"

    def __contains__(self, value: object) -> bool:
        """Whether the value is a number in the range; what is no number is in none."""
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high


def at_least(low: int | float) -> Range:
    """For a condition on `resources` or `custom`: a number not below `low`. Errors: `InvalidQuery`.

    >>> registration = registry.register("worker-1", resources={"tokens": 5000})
    >>> [entry.process_id.local_id for entry in registry.find(resources={"tokens": adsum.at_least(1000)})]
    ['worker-1']
    """
    return Range(_number("at_least", low), math.inf)


def at_most(high: int | float) -> Range:
    """For a condition on `resources` or `custom`: a number not above `high`. Errors: `InvalidQuery`.

    >>> registration = registry.register("worker-1", custom={"load": 0.25})
    >>> registry.count(custom={"load": adsum.at_most(0.5)})
    1
    """
    return Range(-math.inf, _number("at_most", high))


def between(low: int | float, high: int | float) -> Range:
    """For a condition on `resources` or `custom`: a number from `low` to `high`, both included. Errors: `InvalidQuery`.

    >>> registration = registry.register("worker-1", custom={"shard": 7})
    >>> registry.count(custom={"shard": adsum.between(0, 7)}), registry.count(custom={"shard": adsum.between(8, 15)})
    (1, 0)
    """
    found = Range(_number("between", low), _number("between", high))
    if low > high:
        raise InvalidQuery(f"between({low!r}, {high!r}): no number is in it; give the lower bound first")
    return found


def _number(name: str, value: object) -> int | float:
    # An int of any size compares with a float, and has no infinity.
    is_finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite:
        raise InvalidQuery(f"{name}({value!r}): give a finite number")
    return value
