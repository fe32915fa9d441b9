"""The decisions of the registrar, without I/O and without a clock.

`engine` decides a batch of deaths and requests. It reads the tables through a `View`, asks a `Kernel` which owners are
alive, and is given the time; it returns a `Decision`: what to write, what to answer, which owners to watch. The caller
carries it out. So a test can drive the engine through a hundred thousand deaths and crashes in a second, and replay any
failure from its seed. `make lint` fails when a module here imports what does I/O or reads a clock.

One batch is a `round`. It keeps the changes decided so far in a `draft`, grants freed ids by `succession`, and checks
what is added by `admission`; `handlers` holds one function for each request. `heartbeats`, `receipts` and `counters`
are what a registrar remembers from one batch to the next.
"""
