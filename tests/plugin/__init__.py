"""The fixtures that pytest offers where adsum is installed: used here, and in real runs of pytest."""
