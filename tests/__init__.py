"""The tests of adsum. README.md says which folder a test belongs to."""
