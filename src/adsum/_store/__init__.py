"""The tables in shared memory: `tables` is the only code that writes them, `reader` and `snapshot` the only that read.

Nothing outside this package knows that LMDB is underneath.
"""
