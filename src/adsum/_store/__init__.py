"""The tables in shared memory. No other package knows that LMDB is underneath.

- `layout` says how records become rows; `page` holds what readers check before they trust a cache, `page_layout` says
  where each of its words is; `environment` opens the files, and copies rows to a new generation.
- `tables` is the only code that changes rows of the current tables. `older_tables` finds the processes that need tables
  of an older format, and `migration` converts those tables.
- `reader` answers reads: from the `entry_cache`, else from one `snapshot` of the `current_tables`. `history`, `feed`,
  `census` and `audit` read such a snapshot for their own purposes.
"""
