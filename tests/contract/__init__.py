"""Statements about the public interface, for `Registry` and `AsyncRegistry` alike."""
