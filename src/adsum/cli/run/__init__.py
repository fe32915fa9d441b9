"""``adsum run``: registers a program, runs it, and passes signals and job control on to it.

`gate` forks the child that waits until it is registered, `supervise` passes signals to it and waits for its end,
`job_control` stops and continues together with it.
"""
