/* A name for the whole cluster, claimed by two hosts. Checked with Spin: `make model`, see spec/README.md.
 *
 * A claim is a key that is created only where there is none, on the lease of its host, in a transaction that the host's
 * key guards. Its token is the revision at which it was written. A lease may end at any instant, wrongly too; the holder
 * learns it at any time later, and acts on a resource meanwhile. The resource refuses a token smaller than one it has
 * seen.
 *
 * What must hold: once the resource has been used by a holder, it is used by no earlier one.
 *
 *   1  the token is the version of the key, which begins at 1 each time
 *   2  a claim is written whether or not there is one
 *   3  the resource does not compare tokens
 */

#ifndef MISTAKE
#define MISTAKE 0
#endif
#ifndef LOSSES
#define LOSSES 2
#endif
#ifndef CLAIMS
#define CLAIMS 2
#endif
#define REVISIONS 24

byte revision;
byte host[2];          /* the fence of each host; 0 while its lease is lost */
byte holder = 2;       /* the number of the host that has the name; 2 for none */
byte created;          /* the revision at which the key was created, and how often it was written since */
byte written;
byte grants;           /* counts the claims that were granted, in their order */

/* The resource. */
byte largest_token;
byte last_grant;

inline next_revision() {
    revision++;
    assert(revision < REVISIONS)
}

active proctype Etcd() {
    byte losses;
end:
    do
    :: atomic { host[0] == 0 -> next_revision(); host[0] = revision }
    :: atomic { host[1] == 0 -> next_revision(); host[1] = revision }
    :: atomic {
        losses < LOSSES && (host[0] != 0 || host[1] != 0) ->
        if
        :: host[0] != 0 -> host[0] = 0; if :: holder == 0 -> holder = 2 :: else fi
        :: host[1] != 0 -> host[1] = 0; if :: holder == 1 -> holder = 2 :: else fi
        fi;
        losses++;
        next_revision()
       }
    od
}

proctype Claimer(byte me) {
    byte claims, token, mine, fence;
    bool believes;
end:
    do
    :: atomic { !believes && host[me] != 0 -> fence = host[me] }
    :: atomic {
        !believes && claims < CLAIMS && fence != 0 ->
        claims++;
        if
        :: host[me] == fence && (holder == 2 || MISTAKE == 2) ->
            next_revision();
            if
            :: holder == 2 -> created = revision; written = 1
            :: else -> written++
            fi;
            holder = me;
            grants++;
            mine = grants;
            believes = true;
            if
            :: MISTAKE == 1 -> token = written
            :: else -> token = created
            fi
        :: else
        fi;
        fence = 0
       }
    :: atomic {
        /* It acts, whether or not its claim is still there. */
        believes ->
        if
        :: token >= largest_token || MISTAKE == 3 ->
            largest_token = token;
            assert(mine >= last_grant);
            last_grant = mine
        :: else
        fi
       }
    :: atomic {
        /* It releases the claim, only its own, or learns that it is lost. */
        believes ->
        believes = false;
        if
        :: holder == me && created == token -> holder = 2; next_revision()
        :: else
        fi;
        token = 0;
        mine = 0
       }
    od
}

init {
    atomic { run Claimer(0); run Claimer(1) }
}
