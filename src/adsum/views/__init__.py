"""What a registry looks like from outside: documents for programs, descriptions for people, a live mirror.

Everything that shows a registry uses this package: the command line today. It reads through the public calls of a
`Registry` and through its change feed; it knows no terminal and no web server.
"""
