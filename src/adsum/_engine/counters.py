"""What the registrar counts about itself: plain integers and the last cleanup latencies."""

from __future__ import annotations

from collections import Counter, deque

from ..model import CleanupLatency, RegistrarStats


class Counters:
    """Requests by outcome, and the last 1,000 cleanup latencies. `changed` says whether there is news to store."""

    def __init__(self, before: RegistrarStats) -> None:
        self.outcomes: Counter[str] = Counter(before.outcomes)
        self.latencies: deque[float] = deque(maxlen=1000)
        self.changed = True

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self.changed = True

    def cleaned(self, seconds: float) -> None:
        self.latencies.append(seconds)
        self.changed = True

    def stats(self, pending: int, unwatched: int) -> RegistrarStats:
        ordered = sorted(self.latencies)
        latency = CleanupLatency()
        if ordered:
            p50, p99 = (ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 99))
            latency = CleanupLatency(p50, p99, ordered[-1])
        return RegistrarStats(
            pending=pending,
            unwatched_by_kernel=unwatched,
            cleanup_latency=latency,
            outcomes=dict(sorted(self.outcomes.items())),
        )
