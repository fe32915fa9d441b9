"""How many changes there are per second, by kind, over the last few seconds."""

from __future__ import annotations

import time
from collections import Counter, deque

from ..model import Kind

RATE_SECONDS = 5.0
KINDS = (Kind.registered, Kind.updated, Kind.unregistered, Kind.died)
# Changes that the history no longer held, so their kinds are not known.
MISSED = "missed"


class Rates:
    """A sliding window of counted changes.

    >>> from collections import Counter
    >>> from adsum.views.rates import Rates
    >>> rates = Rates()
    >>> rates.note(Counter(died=3))
    >>> rates.per_second()["died"] > 0
    True
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._noted: deque[tuple[float, Counter[str]]] = deque()

    def note(self, seen: Counter[str]) -> None:
        """So many changes of each kind were seen now.

        >>> from collections import Counter
        >>> from adsum.views.rates import Rates
        >>> window = Rates()
        >>> window.note(Counter(registered=1, died=1))
        >>> rates = window.per_second()
        >>> rates["registered"] == rates["died"]
        True
        """
        if seen:
            self._noted.append((time.monotonic(), seen))

    def note_missed(self, number: int) -> None:
        """So many changes were missed.

        >>> from adsum.views.rates import MISSED, Rates
        >>> rates = Rates()
        >>> rates.note_missed(100)
        >>> rates.per_second()[MISSED] > 0
        True
        """
        self.note(Counter({MISSED: number}))

    def per_second(self) -> dict[str, float]:
        """The rate of each kind, and of `MISSED`, zeros included.

        >>> from adsum.views.rates import Rates
        >>> Rates().per_second()["died"]
        0.0
        """
        now = time.monotonic()
        while self._noted and self._noted[0][0] < now - RATE_SECONDS:
            self._noted.popleft()
        seconds = max(1.0, min(RATE_SECONDS, now - self._began))
        summed: Counter[str] = Counter()
        for _, seen in self._noted:
            summed.update(seen)
        return {kind: summed[kind] / seconds for kind in (*KINDS, MISSED)}
