"""Where each word of the page is. This is the only place that says so, for Python and for compiled code.

The page is an array of 64-bit words in the machine's byte order: a header of `HEADER_WORDS`, then `BUCKETS` change
counters. A constant below is the index of a word in the header.

The board (see `board`) is another such array: eight words, then the `INDEX_BUCKETS` change counters of index keys, then
`LIFELINES` lifelines of a cache line each, then a word for each of `HOSTS` hosts of the cluster (see `hosts`), then
`MEMBER_ROWS` member rows of `ROW_WORDS` words.

The words of the first group are **frozen**: they keep index and meaning in every table format, past and future. By them
an adsum of any version recognises a page, finds its format, knows whether it belongs to this boot and this PID
namespace, sees whether it is retired, and can stop its registrar. The words of the second group have kept their places
since format 1, which a migration relies on. A later format may move them.
"""

from .._member_row import ROW_BITS, ROW_WORDS

WORD_BYTES = 8
HEADER_WORDS = 512
BUCKETS = 4096
HEADER_BYTES = WORD_BYTES * HEADER_WORDS
SIZE = HEADER_BYTES + WORD_BYTES * BUCKETS

INDEX_BUCKETS = 4096
LIFELINES = 4096
LIFELINE_WORDS = 8
BOARD_COUNTERS_AT = 8
LIFELINES_AT = BOARD_COUNTERS_AT + INDEX_BUCKETS
MEMBER_ROWS = 1 << ROW_BITS
HOSTS_AT = LIFELINES_AT + LIFELINE_WORDS * LIFELINES
HOSTS = 1024
ROWS_AT = HOSTS_AT + HOSTS
BOARD_SIZE = WORD_BYTES * (ROWS_AT + ROW_WORDS * MEMBER_ROWS)

MAGIC_VALUE = int.from_bytes(b"adsum\0\0\0", "little")

# Frozen.
FORMAT = 0
MAGIC = 1
BOOT = 2  # two words: the 16 bytes of the boot id
PID_NAMESPACE = 4
GENERATION = 5  # 0: this page is retired
REGISTRAR = 7  # three words: pid, start time, inode of the pidfd

# As in format 1.
MAP_SIZE = 6
STARTED = 10
RESTARTS = 11
EPOCH = 12
REVISION = 13
ENTRIES = 14
# Zero where the registrar is of a version before these words.
PROMISES = 15
BOARD = 16
