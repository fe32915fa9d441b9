"""The commands about members: list, show, wait for, follow, change and remove entries."""
