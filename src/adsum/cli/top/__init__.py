"""``adsum top``: the whole registry on one screen, live.

`command` is the loop, `view` draws a frame, `summary` has the figures and lines that a frame, a pipe and JSON share,
`choices` holds order, filter and position, `screen` and `keyboard` handle the terminal.
"""
