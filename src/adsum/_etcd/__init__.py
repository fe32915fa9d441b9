"""The client for etcd, with which hosts share one registry. Only this package knows grpc and protobuf.

Private to adsum. The bridge and `adsum doctor` are written against what follows. All of it is for one asyncio event
loop; nothing here starts a thread of its own (grpc does).

Address (`address`, without grpc)
    ``parse(text, environment=os.environ) -> ClusterAddress(members, name, tls, user)``, from
    ``etcd://[USER@]HOST[:PORT][,...]/NAME`` or ``etcds://...?cert=&key=&ca=``. `adsum.InvalidClusterAddress`.

Client (`client`)
    ``EtcdClient(address, *, timeout=1.0, first=None, password=None)``, ``async with`` or ``await close()``; attributes
    `member` (asked at present), `cluster_id`, `revision` (highest seen). Every call takes ``timeout=`` in seconds.

    ===========================================================================  =======================================
    call                                                                         result
    ===========================================================================  =======================================
    ``range(key, prefix=, end=, revision=, limit=, serializable=, keys_only=,    `KeyPage(revision, items, more,
    count_only=)``                                                               count)`
    ``pages(prefix, revision=, size=5000)``, an async generator                  `KeyPage`, all of one revision
    ``put(key, value, lease=)``                                                  the revision
    ``delete_range(key, prefix=, end=)``                                         `Deletion(revision, count)`
    ``transaction(compares, success, failure)``                                  `Transaction(succeeded, revision,
                                                                                 results)`, ``.pages()``
    ``compact(revision)``                                                        None
    ``grant(ttl, lease=)``                                                       `Lease(id, granted, remaining, keys)`
    ``revoke(lease)``                                                            whether there was one
    ``time_to_live(lease, keys=)``                                               `Lease`, None if there is none
    ``keep_lease(lease, ttl, every=)``, ``async with``, ``async for``            `Renewal(sent, ttl, member)`
    ``watch(key, prefix=, end=, start_revision=, previous=)``, ``async with``,   `WatchResponse(revision, changes)`,
    ``async for``                                                                ``.by_revision()``
    ``status(member=None)``                                                      `Status` of one etcd member
    ``member_list()``, ``alarms()``, ``disarm(alarm)``, ``defragment(member)``   `MemberInfo`, `Alarm`
    ===========================================================================  =======================================

    A transaction is made of ``Compare(key, field, relation, operand)``, `absent(key)`, `unchanged_since(key,
    revision)`, ``Put(key, value, lease)``, ``Delete(key, prefix)`` and ``Get(key, prefix, limit)``, all in `records`.

Watch (`watch.EtcdWatch`)
    Resumes by itself at the next etcd member, from the last revision that was delivered whole. A `WatchResponse` has
    whole revisions. One without changes, about once a second, says that there were none up to its revision. `position`,
    `heard` (CLOCK_BOOTTIME of the last message), `member`; ``request_progress()`` has an empty response sent at once.

Lease keeper (`lease.LeaseKeeper`)
    Sends a keep-alive each third of the TTL and gives each answer as a `Renewal`; `sent` is on CLOCK_BOOTTIME. Its
    patience is a small part of the TTL, then it asks the next member. It gives up when etcd says that the lease is
    gone: `LeaseNotFound`.

Errors (`errors`, all `EtcdError`, with `.reason`, all can be pickled)
    - `Unavailable`: for sure not carried out (or a read without an answer). `.member`, `.status`, `.detail`.
    - `OutcomeUnknown`: a write without an answer. It may have been carried out, or may be later.
    - `Refused`: etcd's word that it did nothing: `LeaseNotFound`, `LeaseExists`, `Compacted` (`.compact_revision`),
      `FutureRevision`, `NoSpace`, `RequestTooLarge`, `Overloaded`, `AccessDenied`, `NotAuthenticated`, or itself.
    - `WatchCanceled`, `ClusterChanged`, `RevisionWentBack` (`.known`, `.found`): what was read is void; load anew,
      after the last two with a new client or after `forget_cluster`. These may also come with the answer to a write
      that was carried out.

    They are not for users: the bridge says `adsum.ClusterUnavailable`, `adsum.Timeout` or what the case asks for.

gRPC writes lines about failed connections to standard error. A program that uses the client sets GRPC_VERBOSITY=ERROR
in its environment before it imports `client`, unless the user has set it.

Versions (`versions`, without grpc)
    ``judge(version) -> Verdict(version, level, reasons)``, `MINIMUM`, `ADVISED`, `FAULTS`, ``is_reliable(version)``.
"""
