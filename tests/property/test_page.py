"""The page's protocol, one step at a time: a cached value that the counters validate is always the current one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adsum._store import page as pages
from adsum.model import Owner

BUCKETS = range(3)
_buckets = st.sets(st.sampled_from(BUCKETS), min_size=1)


class PageMachine(RuleBasedStateMachine):
    """A registrar that takes one step at a time, and a reader that reads in between.

    A reader reads the counter first and the table after it; the registrar may take any number of steps in between. The
    reader caches the value, unless the counter was odd, and trusts it while the counter has the same value.
    """

    @initialize()
    def make(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="adsum-page-", dir="/dev/shm"))
        self.page = pages.create(self.folder, 2**20)
        self.counters = self._of_a_reader()
        self.committed = dict.fromkeys(BUCKETS, 0)
        self.cached: dict[int, tuple[int, int]] = {}
        self.reading: tuple[int, int] | None = None
        self.work: Iterator[None] | None = None
        self.serving = False
        self._start()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def _of_a_reader(self) -> memoryview:
        attached = pages.attach(self.folder)
        if attached is None:
            raise LookupError("the page is gone")
        return attached.counters

    # The registrar

    @precondition(lambda self: self.work is None and self.serving)
    @rule(buckets=_buckets, succeeds=st.booleans())
    def begin_a_batch(self, buckets: set[int], succeeds: bool) -> None:
        self.work = self._batch(buckets, succeeds)

    @precondition(lambda self: self.work is None and not self.serving)
    @rule(buckets=st.sets(st.sampled_from(BUCKETS)))
    def start_with_a_sweep(self, buckets: set[int]) -> None:
        self.work = self._starting(buckets)

    @precondition(lambda self: self.work is not None)
    @rule()
    def take_a_step(self) -> None:
        if self.work is not None and next(self.work, "done") == "done":
            self.work = None

    @rule()
    def be_killed(self) -> None:
        """At any step. Nothing more is done, and the next registrar finds the page as it is."""
        self.work, self.serving = None, False
        attached = pages.attach(self.folder, writable=True)
        if attached is None:
            raise LookupError("the page is gone")
        self.page = attached

    def _batch(self, buckets: set[int], succeeds: bool) -> Iterator[None]:
        for bucket in sorted(buckets):
            self.page.mark([bucket])
            yield
        if succeeds:
            self.committed |= {bucket: self.committed[bucket] + 1 for bucket in buckets}
            yield
        for bucket in sorted(buckets):
            self.page.settle([bucket])
            yield

    def _starting(self, dead: set[int]) -> Iterator[None]:
        yield from self._batch(dead, succeeds=True)
        self._start()

    def _start(self) -> None:
        self.page.announce(Owner(1, 1, 1), 1)
        self.serving = True

    # A reader

    @rule(bucket=st.sampled_from(BUCKETS))
    def begin_to_read(self, bucket: int) -> None:
        self.reading = (bucket, self.counters[bucket])

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read_the_table(self) -> None:
        if self.reading is not None:
            bucket, version = self.reading
            if not version & 1:
                self.cached[bucket] = (version, self.committed[bucket])
            self.reading = None

    @invariant()
    def a_validated_value_is_current(self) -> None:
        if hasattr(self, "folder"):
            for bucket, (version, value) in self.cached.items():
                assert self.counters[bucket] != version or value == self.committed[bucket]

    @invariant()
    def counters_are_even_between_batches(self) -> None:
        if hasattr(self, "folder") and self.serving and self.work is None:
            assert not any(self.counters[bucket] & 1 for bucket in BUCKETS)


TestPage = PageMachine.TestCase
TestPage.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, print_blob=True)
