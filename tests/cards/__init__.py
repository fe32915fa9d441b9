"""Cards and catalogues, read by the clients of their protocols over real HTTP."""
