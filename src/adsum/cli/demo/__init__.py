"""``adsum demo``: runs the package `adsum_demo` and shows it."""
