"""The tables in shared memory: `tables` is the only code that writes them, `snapshot` and `audit` the only that read.

`reader` answers from what is `kept`, and else from a snapshot of those that are `opened`.

Nothing outside this package knows that LMDB is underneath.
"""
