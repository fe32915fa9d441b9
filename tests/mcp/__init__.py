"""The server of the Model Context Protocol, as real processes, with the clients of the SDK and without."""
