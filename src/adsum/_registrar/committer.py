"""Batches into the tables: decide, mark, commit, settle.

The order is the promise. The page's counters of every id that changes become odd before the commit, so that no reader
trusts a cached entry from the moment the new state can be seen; they settle after it, and only then are the replies
sent (L5). Owners of new entries are watched before the commit, so an entry is never in the tables without its watch
(I5). A crash before the commit changed nothing; a crash after it left the replies in the tables (see
`_engine.receipts`). What the next batch alone needs follows after the replies, while the clients go on.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from .. import _wire as wire
from .._engine.batch import Batch, Call, Decision, Instant
from .._engine.counters import Counters
from .._engine.draft import View
from .._engine.engine import Engine
from .._engine.receipts import Receipts
from .._store import tables
from .._store.board import index_buckets_of, namespace_bucket_of
from .._store.layout import Change, Receipt, key_of
from .._store.page import Page, bucket_of
from .._store.tables import Retention
from ..errors import AdsumError, InternalError, RegistryFull
from ..model import Entry, Owner
from .generations import Generations
from .hosts import ClusterHosts
from .log_lines import LogLines, subject
from .members import Members
from .ports import Ports
from .replies import OutgoingReply, refusals, replies_to
from .splitting import without_room

# Gets replies as soon as they may be sent.
SendReplies: TypeAlias = Callable[[list[OutgoingReply]], object]


class _TooLate(Exception):
    """The deadline of a decided request passed before its commit."""


class _Commit(msgspec.Struct, frozen=True):
    """A batch that was carried out, with the replies to it."""

    batch: Batch
    decision: Decision
    replies: list[OutgoingReply]


class Committer:
    """Changes the tables of one registry, and is the only one that does. `entries` and `commits` count;
    `last_changes` are those of the batch whose answers are being given to `send`."""

    def __init__(
        self,
        generations: Generations,
        page: Page,
        engine: Engine,
        ports: Ports,
        *,
        members: Members,
        hosts: ClusterHosts,
        receipts: Receipts,
        counters: Counters,
        log_lines: LogLines,
        retention: Retention,
        entries: int,
    ) -> None:
        self._generations = generations
        self._page = page
        self._engine = engine
        self._members = members
        self._hosts = hosts
        self._receipts = receipts
        self._counters = counters
        self._retention = retention
        self._kernel, self._clock = ports.kernel, ports.clock
        self._failpoint, self._log = ports.failpoint, ports.log
        self._log_lines = log_lines
        self.entries = entries
        self.commits = 0
        self.last_changes: Sequence[Change] = ()

    @property
    def own_entries(self) -> int:
        """How many entries are of members of this registry."""
        return self.entries - self._hosts.entries

    @property
    def has_reservations(self) -> bool:
        return bool(self._engine.memory.reservations.by_key)

    def commit(self, batch: Batch, send: SendReplies) -> None:
        """Decide and commit a batch, and give the replies to `send`. Where this raises, it has given none."""
        try:
            committed = self._commit(batch, self._retention)
        except RegistryFull as error:
            self._commit_what_frees(batch, error, send)
        except AdsumError:
            raise
        except Exception as error:
            self._log.exception("a batch of %d requests cannot be decided", len(batch.calls))
            if not batch.calls:
                raise
            self._commit_one_by_one(batch, error, send)
        else:
            self._finish(committed, send)

    def refuse(self, calls: Sequence[Call], error: AdsumError) -> list[OutgoingReply]:
        """The replies to calls that could not be carried out."""
        for _ in calls:
            self._counters.count(error.reason)
        self._log_lines.refused(calls, error.reason)
        return refusals(calls, error)

    def store_stats(self, pending: int) -> None:
        """Leave the counters where readers find them."""
        if self._counters.changed:
            self._counters.changed = False
            with tables.write(self._generations.current) as transaction:
                transaction.keep_stats(self._counters.stats(pending, len(self._kernel.scanned)))

    # When a batch cannot be committed as it is

    def _commit_what_frees(self, batch: Batch, error: RegistryFull, send: SendReplies) -> None:
        """No page was left, although the estimate admitted the batch: refuse the requests that need room, drop the
        history, and carry out the rest. Watches then report `lagged`."""
        self._log.warning("no room for a batch: %s", error)
        self._generations.check_growth()
        rest, refused = without_room(batch)
        self._finish(self._commit(rest, replace(self._retention, history_bytes=0)), send)
        send(self.refuse(refused, error))

    def _commit_one_by_one(self, batch: Batch, error: Exception, send: SendReplies) -> None:
        """The engine failed on this batch, which is a defect of ours: it must cost its sender alone."""
        rest = replace(batch, calls=())
        if rest != Batch():
            self._finish(self._commit(rest, self._retention), send)
        if len(batch.calls) == 1:
            send(self.refuse(batch.calls, _defect(batch.calls[0], error)))
            return
        for call in batch.calls:
            self._commit_alone(call, send)

    def _commit_alone(self, call: Call, send: SendReplies) -> None:
        try:
            committed = self._commit(Batch(calls=[call]), self._retention)
        except AdsumError as error:
            send(self.refuse([call], error))
        except Exception as error:  # noqa: BLE001 - logged, and its sender gets an answer
            self._log.exception("this is the request: %s", subject(call))
            send(self.refuse([call], _defect(call, error)))
        else:
            self._finish(committed, send)

    # The commit

    def _finish(self, committed: _Commit, send: SendReplies) -> None:
        """Reply, and follow. What fails here ends the registrar: the batch is committed, so no client may hear that it
        was refused, and the next registrar knows what this one has missed."""
        self.last_changes = committed.decision.changes
        try:
            send(committed.replies)
            self._follow(committed.batch, committed.decision)
        except AdsumError as error:
            raise RuntimeError(f"a batch was committed, and then: {error}") from error

    def _commit(self, batch: Batch, retention: Retention) -> _Commit:
        while True:
            try:
                return self._commit_in_time(batch, retention)
            except _TooLate:
                # This process was stopped or starved since the decision, and callers may have given up: decide anew.
                continue

    def _commit_in_time(self, batch: Batch, retention: Retention) -> _Commit:
        marked = MarkedCounters(set(), set())
        watched: list[Owner] = []
        receipts: list[Receipt] = []
        try:
            with tables.write(self._generations.current, self._members.present) as transaction:
                decision = self._decide(transaction, self._hosts.with_hearing(batch), self._clock.instant(), watched)
                replies = replies_to(batch.calls, decision)
                if decision.writes:
                    marked = _counters_of(decision, transaction.index_keys)
                    self._page.mark(marked.ids, marked.keys)
                    self._members.allocate_rows(decision)
                    transaction.apply(decision.changes, decision.departures, retention)
                    # After the changes, for rows are appended in the order of their incarnations.
                    transaction.refresh(decision.refreshed)
                    transaction.amend_departures(decision.amended)
                    transaction.write_standbys(decision.queued, decision.dequeued)
                    transaction.write_hosts(decision.hosts)
                    receipts = [Receipt(a.session, a.number, a.data) for a in replies if a.kept]
                    transaction.keep_receipts(receipts, self._receipts.obsolete)
                    self._failpoint("before_commit")
                    self._require_in_time(replies)
        except BaseException:
            for owner in watched:
                self._kernel.unwatch(owner)
            raise
        finally:
            # Also when nothing was committed: a counter that moved only makes readers look.
            self._page.settle(marked.ids, marked.keys)
        self._failpoint("after_commit")
        if decision.writes:
            # Before the revision, which lets watches see the events of the hosts.
            self._hosts.follow(decision)
            for change in decision.changes:
                self.entries += (change.after is not None) - (change.before is not None)
            # Before the replies: where this registrar is killed after one, the number says that the registry lives.
            self._page.entries = self.entries
            self._page.revision = transaction.revision
            self._receipts.committed(receipts)
        self._members.follow(decision)
        return _Commit(batch, decision, replies)

    def _decide(self, view: View, batch: Batch, now: Instant, watched: list[Owner]) -> Decision:
        """Decide, wait for holders that are ending, and begin to watch the owners of new entries, which `watched`
        collects.

        An owner that ends after a decision counts as dead in the next attempt; so no attempt meets the same death
        again, and there are no more of them than owners.
        """
        kernel = self._kernel
        dead: set[Owner] = set()
        while True:
            decision = self._engine.decide(view, batch, now, dead)
            if decision.awaited and (ended := [owner for owner in decision.awaited if kernel.ends_now(owner)]):
                dead.update(ended)
                continue
            died = False
            for owner in decision.watched:
                if owner in kernel:
                    continue
                if kernel.watch(owner):
                    watched.append(owner)
                else:
                    dead.add(owner)
                    died = True
            if not died:
                break
        if dead:
            for owner in set(watched).difference(decision.watched):
                kernel.unwatch(owner)
                watched.remove(owner)
        return decision

    def _require_in_time(self, replies: Sequence[OutgoingReply]) -> None:
        now = self._clock.monotonic_ns()
        for one in replies:
            if one.kept and one.deadline is not None and one.deadline < now:
                raise _TooLate

    def _follow(self, batch: Batch, decision: Decision) -> None:
        """After the replies: what the next batch and people need follows the commit."""
        # The bridge of a cluster reads the standbys and the exits of members here, and is woken for them too.
        amended = self._hosts and any(one.entry.origin is None for _, one in decision.amended)
        self.commits += bool(decision.changes or amended or any(one.everywhere for one in decision.queued))
        for send in decision.replies:
            self._counters.count(send.reason if isinstance(send, wire.Failed) else "ok")
        for owner in decision.released:
            self._kernel.unwatch(owner)
        self._log_lines.follow(batch.calls, decision)
        now = self._clock.monotonic_ns()
        self._engine.memory.follow(decision)
        for death in batch.deaths:
            if death.noticed is not None:
                self._counters.cleaned((now - death.noticed) / 1e9)
        if decision.changes:
            self._generations.check_growth()


class MarkedCounters(msgspec.Struct, frozen=True):
    """The counters of ids, and of index keys."""

    ids: set[int]
    keys: set[int]


def _counters_of(decision: Decision, keys_of: Callable[[Entry], frozenset[tuple[str, bytes]]]) -> MarkedCounters:
    """The counters of all ids that the decision changes, and of all index keys that their entries have or had."""
    changed = [record for change in decision.changes for record in (change.before, change.after) if record is not None]
    ids = {bucket_of(change.key) for change in decision.changes}
    ids.update([bucket_of(key_of(record.entry.process_id)) for record in decision.refreshed])
    keys: set[int] = set()
    for record in (*changed, *decision.refreshed):
        keys |= index_buckets_of(keys_of(record.entry))
        keys.add(namespace_bucket_of(record.entry.process_id.namespace))
    return MarkedCounters(ids, keys)


def _defect(call: Call, error: Exception) -> InternalError:
    return InternalError(
        f"the registrar failed on this request ({subject(call)}) with {error!r:.200}; nothing was changed. This is a "
        "defect of adsum: please report it, with the file registrar.log of the registry's folder"
    )
