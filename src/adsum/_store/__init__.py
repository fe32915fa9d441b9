"""The tables in shared memory: `tables` is the only code that writes them, `snapshot` and `audit` the only that read.

`reader` answers from what is `cached`, and else from a snapshot of those that are `current_tables`.

Nothing outside this package knows that LMDB is underneath.
"""
