"""The bridge: one process per host, a client of its registrar and of etcd, which makes one registry of many.

It publishes the changes of the local registry under the keys of its host, and sends what other hosts publish to the
registrar, which puts it into the same tables. Reads stay local memory, and deaths the word of the kernel of their host.

The parts, from etcd to the registrar:

- `keys`, `records`: what is under which key.
- `tenure`: the lease and the key of the host, which fence every write (a lease with a fencing token: Gray and Cheriton,
  "Leases", SOSP 1989).
- `etcd_writer`: local changes into etcd.
- `response_buffer`, `remote_hosts`, `etcd_reader`: what is in etcd into requests for the registrar.
- `local`: the local registry, as the bridge sees it; `registrar_check`: whether its registrar answers.
- `bridge`: the wiring; `process`: the process around it.

`spec/cluster.pml` is the model of this protocol; `spec/README.md` says what it has taught.
"""
