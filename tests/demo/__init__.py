"""The demo: its job, its processes, and what it leaves behind."""
