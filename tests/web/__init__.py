"""The web pages and the JSON API: as an application, as a server process, and in a real browser."""
