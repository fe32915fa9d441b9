"""The decisions of the registrar, without I/O and without a clock.

`engine` decides a batch of deaths and requests. It reads the tables through a `View`, asks a `Kernel` which owners are
alive, and is given the time; it returns a `Decision`: the changes to write, the replies to send, the owners to watch.
The caller carries it out. So a test can drive the engine through a hundred thousand deaths and crashes, and replay any
failure from its seed. `make lint` fails when a module here imports one that does I/O or reads a clock.

One batch is a `round`. It keeps the changes decided so far in a `draft`, checks new entries by `admission`, and queues
standbys and grants freed ids by `succession`; `handlers` has one function for each request about entries. `heartbeats`,
`receipts`, `counters` and `memory` are what the registrar remembers from one batch to the next.
"""
