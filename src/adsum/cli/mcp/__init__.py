"""The command ``adsum mcp``: a server of the Model Context Protocol."""
