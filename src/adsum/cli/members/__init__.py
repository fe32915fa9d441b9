"""Commands about members: list, show, wait, watch, change, remove."""
