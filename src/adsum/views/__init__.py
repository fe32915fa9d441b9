"""What a registry looks like from outside: documents for programs, descriptions for people, a live mirror.

What shows a registry uses this package: the command line, the web pages, the server for models and the cards. It reads
through the public calls of a `Registry` and through its change feed. It draws on no terminal and serves no requests;
`host_header` and `paths` only read and write text that web servers have in common.
"""
