/* One host's entries on their way to a reader, by way of etcd. Checked with Spin: `make model`, see spec/README.md.
 *
 * A host has a table of entries, which changes. A bridge of the host writes it to etcd. Each of its writes is guarded
 * by the fence: the revision at which the host's key was last written. A write may take any time on its way; it is
 * carried out even if the bridge has crashed meanwhile, or has given up waiting for the answer. The lease of the host's
 * key may end at any instant, wrongly too; the entries are not on the lease. A reader loads all keys at any instant,
 * and then follows the changes, in order, at its own pace.
 *
 * What must hold: where a reader shows a host as here and whole, the state in which it shows each entry, or its
 * absence, is one that the entry had in the host's table at some moment since that fence was set, and no older than the
 * last write of it that was answered.
 *
 * A reader may load at any instant, so this must hold of what is in etcd after each change: that is checked without a
 * reader. -DREADER adds one, which loads and follows, and checks what it shows.
 *
 * -DMISTAKE=n puts one mistake into it, which Spin must refute. The names are at the end of this comment.
 *
 *   1  the writes of entries are not guarded
 *   2  the bridge says "whole" when it has sent what differs, and not when that is answered
 *   3  a reader takes a host for whole that was whole under another fence
 *   4  after a write of unknown outcome, the bridge repeats it under the same fence
 *   5  the bridge reads what is in etcd before it sets its fence
 *   6  a new bridge takes over the fence of the one before
 *   7  a reader begins to follow later than at the revision that it loaded
 *   8  a reader that loads again keeps what is not there any more
 */

#ifndef MISTAKE
#define MISTAKE 0
#endif

#define IDS 2
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#ifndef RELOADS
#define RELOADS 1
#endif

#define SLOTS 2
#define REVISIONS 24
#define BIT(id) (1 << (id))

/* The host: its present table, the version of it, and all earlier ones. An entry is the version at which it was
 * registered or changed, 0 where there is none. */
byte table[IDS];
byte version;
byte history[(CHANGES + 1) * IDS];
byte changed;    /* bits of ids that changed since the bridge looked */

/* etcd */
byte revision;
byte host;                     /* the revision of the host's key, its fence; 0 without one */
byte whole;                    /* the fence for which everything is written; 0 without one; on the lease */
byte entry[IDS];
byte fenced_at[REVISIONS];     /* the version of the table when the fence was set, by fence */

/* Writes on their way. A bridge forgets those that it does not wait for any more. */
mtype = { unused, sent, done, refused, HOST, LOST, WHOLE, ENTRY };
mtype state[SLOTS] = unused;
bool forgotten[SLOTS];
byte fence_of[SLOTS];
byte id_of[SLOTS];
byte value_of[SLOTS];
byte version_of[SLOTS];        /* the version of the table that the value is from */
byte answered[IDS];            /* by id: that of the last write that was answered */

byte among;

inline require_among(fence_shown, oldest, id, value) {
    among = fenced_at[fence_shown];
    if
    :: among < oldest -> among = oldest
    :: else
    fi;
    do
    :: among <= version && history[among * IDS + id] == value -> break
    :: among <= version && history[among * IDS + id] != value -> among++
    :: among > version -> assert(false)
    od;
    among = 0
}

/* Each entry, as it is shown, is one of the host's since the fence, and no older than these versions. */
inline require_true(fence_shown, whole_shown, first, oldest_first, second, oldest_second) {
    if
    :: fence_shown != 0 && (whole_shown == fence_shown || (MISTAKE == 3 && whole_shown != 0)) ->
        require_among(fence_shown, oldest_first, 0, first);
        require_among(fence_shown, oldest_second, 1, second)
    :: else
    fi
}

#ifdef READER
/* What the reader is told, in the order of the revisions. */
bool following;
chan feed = [REVISIONS] of { mtype, byte, byte };

inline tell(kind, which, value) {
    if
    :: following -> feed ! kind, which, value
    :: else
    fi
}
#else
/* A reader could load at this instant. */
inline tell(kind, which, value) {
    require_true(host, whole, entry[0], answered[0], entry[1], answered[1])
}
#endif

inline next_revision() {
    revision++;
    assert(revision < REVISIONS)
}

inline release(number) {
    state[number] = unused;
    forgotten[number] = false;
    fence_of[number] = 0;
    id_of[number] = 0;
    value_of[number] = 0;
    version_of[number] = 0
}

active proctype Host() {
    byte id;
    do
    :: version < CHANGES ->
        atomic {
            select(id : 0 .. IDS - 1);
            version++;
            if
            :: table[id] = version
            :: table[id] != 0 -> table[id] = 0
            fi;
            history[version * IDS] = table[0];
            history[version * IDS + 1] = table[1];
            changed = changed | BIT(id);
            id = 0
        }
    :: version == CHANGES -> break
    od
}

/* Carries out the writes that are on their way, in any order, and loses leases. */
active proctype Etcd() {
    byte slot;
    byte lost;
end:
    do
    :: atomic {
        /* Any one that is on its way. */
        state[0] == sent || state[1] == sent ->
        if
        :: state[0] == sent -> slot = 0
        :: state[1] == sent -> slot = 1
        fi;
        if
        :: host == fence_of[slot] || MISTAKE == 1 ->
            next_revision();
            entry[id_of[slot]] = value_of[slot];
            tell(ENTRY, id_of[slot], value_of[slot]);
            state[slot] = done
        :: else -> state[slot] = refused
        fi;
        if
        :: forgotten[slot] -> release(slot)
        :: else
        fi;
        slot = 0
       }
    :: atomic {
        lost < LOSSES && host != 0 ->
        lost++;
        next_revision();
        host = 0;
        whole = 0;
        tell(LOST, 0, 0)
       }
    od
}

inline forget_all() {
    slot = 0;
    do
    :: slot < SLOTS ->
        if
        :: state[slot] == sent -> forgotten[slot] = true
        :: state[slot] == done || state[slot] == refused -> release(slot)
        :: else
        fi;
        slot++
    :: else -> break
    od;
    slot = 0;
    flying = 0
}

/* What differs between etcd and the table must be written. */
inline compare() {
    dirty = 0;
    changed = 0;
    if :: entry[0] != table[0] -> dirty = dirty | BIT(0) :: else fi;
    if :: entry[1] != table[1] -> dirty = dirty | BIT(1) :: else fi;
    owed = dirty
}

inline set_fence() {
    next_revision();
    host = revision;
    fence = revision;
    fenced_at[fence] = version;
    tell(HOST, fence, 0)
}

active proctype Bridge() {
    byte fence, seen, dirty, flying, owed, slot, id;
    byte crashes, timeouts;
    bool is_told;

establish:
    /* A new bridge, or one that has lost its lease: look who holds the host's key, and write it anew if nobody else
       does at the same time. */
    atomic { forget_all(); is_told = false; seen = host }
    if
    :: MISTAKE == 5 -> atomic { compare() }
    :: MISTAKE == 6 && seen != 0 -> atomic { fence = seen; compare(); goto publish }
    :: else
    fi;
    if
    :: atomic { host == seen -> set_fence() }
    :: atomic { host != seen -> goto establish }
    fi;
    if
    :: MISTAKE != 5 -> atomic { compare() }
    :: else
    fi;

publish:
end:
    do
    :: atomic { changed != 0 -> dirty = dirty | changed; changed = 0 }

    :: atomic {
        /* Send one that is not on its way already, in a slot that is free. */
        (dirty & ~flying) != 0 && (state[0] == unused || state[1] == unused) ->
        if
        :: (dirty & ~flying) & BIT(0) -> id = 0
        :: (dirty & ~flying) & BIT(1) -> id = 1
        fi;
        if
        :: state[0] == unused -> slot = 0
        :: else -> slot = 1
        fi;
        state[slot] = sent;
        fence_of[slot] = fence;
        id_of[slot] = id;
        value_of[slot] = table[id];
        version_of[slot] = version;
        dirty = dirty & ~BIT(id);
        flying = flying | BIT(id);
        slot = 0;
        id = 0
       }

    :: atomic {
        /* An answer. */
        state[0] == done || state[1] == done ->
        if
        :: state[0] == done -> slot = 0
        :: else -> slot = 1
        fi;
        flying = flying & ~BIT(id_of[slot]);
        owed = owed & ~BIT(id_of[slot]);
        answered[id_of[slot]] = version_of[slot];
        release(slot);
        slot = 0
       }
    :: atomic { state[0] == refused || state[1] == refused -> goto establish }

    :: atomic {
        /* No answer in time: it may be carried out later, or never. */
        timeouts < TIMEOUTS && flying != 0 ->
        timeouts++;
        if
        :: MISTAKE == 4 -> dirty = dirty | flying; forget_all()
        /* Under a new fence none of the old writes is carried out any more. */
        :: MISTAKE != 4 -> goto establish
        fi
       }

    :: atomic {
        !is_told && (owed == 0 || (MISTAKE == 2 && (dirty & owed) == 0)) ->
        if
        :: host == fence ->
            is_told = true;
            next_revision();
            whole = fence;
            tell(WHOLE, fence, 0)
        :: else -> goto establish
        fi
       }

    :: atomic { host != fence -> goto establish }
    :: atomic { crashes < CRASHES -> crashes++; goto establish }
    od
}

#ifdef READER
active proctype Reader() {
    byte at_host, at_whole, reloads, which, value;
    byte shown[IDS];
    mtype kind;

load:
    atomic {
        at_host = host;
        at_whole = whole;
        if :: MISTAKE == 8 && entry[0] == 0 :: else -> shown[0] = entry[0] fi;
        if :: MISTAKE == 8 && entry[1] == 0 :: else -> shown[1] = entry[1] fi;
        following = (MISTAKE != 7);
        require_true(at_host, at_whole, shown[0], 0, shown[1], 0)
    }
    following = true;

end:
    do
    :: atomic {
        feed ? kind, which, value ->
        if
        :: kind == HOST -> at_host = which
        :: kind == LOST -> at_host = 0; at_whole = 0
        :: kind == WHOLE -> at_whole = which
        :: kind == ENTRY -> shown[which] = value
        fi;
        which = 0;
        value = 0;
        kind = 0;
        require_true(at_host, at_whole, shown[0], 0, shown[1], 0)
       }
    :: atomic {
        /* The stream breaks, at any revision, and what was on its way is compacted. */
        reloads < RELOADS ->
        reloads++;
        following = false;
        do
        :: feed ? kind, which, value
        :: empty(feed) -> break
        od;
        which = 0;
        value = 0;
        kind = 0;
        goto load
       }
    od
}
#endif

/* When nothing more happens, the host is here and whole, and etcd has its table. */
active proctype Quiet() {
    timeout -> assert(host != 0 && whole == host && entry[0] == table[0] && entry[1] == table[1])
}
